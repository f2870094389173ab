/** The rungs of policy's ladders, and the actions that they ask for. */
import { ActionKind } from "@hullmark/proto/v1/response";
import type { ResponseRule, Rung } from "../policy/types.ts";

export type ActingRung = Exclude<Rung, "alert">;

export const KIND_OF: Readonly<Record<ActingRung, ActionKind>> = {
  stop: ActionKind.STOP,
  recreate: ActionKind.RECREATE,
  rollback: ActionKind.ROLLBACK,
  evict: ActionKind.EVICT,
  halt: ActionKind.HALT,
  isolate: ActionKind.ISOLATE,
};
const RUNG_OF = new Map(Object.entries(KIND_OF).map(([rung, kind]) => [kind, rung as ActingRung]));

/** People whose word policy asks for before this is done. */
export function approvalsOf({ approvals, approvalsFor }: Pick<ResponseRule, "approvals" | "approvalsFor">, kind: ActionKind): number {
  return approvalsFor[RUNG_OF.get(kind) ?? "stop"] ?? approvals;
}
