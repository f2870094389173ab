import { ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow } from "../../ports/rows.ts";

/** What is still to come to its end. The store has one such a container. */
export const UNSETTLED: ReadonlySet<ActionState> = new Set([ActionState.AWAITING, ActionState.CAPTURING, ActionState.ISSUED]);

/** A purge that its actuator, or people, say is carried out, and that what is measured then ends. */
export function isMeasuring({ state, purge }: Pick<ActionRow, "state" | "purge">): boolean {
  return state === ActionState.ISSUED && purge?.purgedAtMs !== undefined;
}
