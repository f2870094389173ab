/** Isolations: which hold, what climbs the ladder after one, and what people undo. Pure. */
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow, DriftRow } from "../../ports/rows.ts";
import type { Policy, ResponseRule } from "../policy/types.ts";
import { UNSETTLED } from "./unsettled.ts";

/** Why an actuator will not isolate this container, today or tomorrow: the rung after it is meant then. Codes of docs/response.md. */
const LASTING: ReadonlySet<string> = new Set([
  ...["host-network", "shared-network", "shared-namespaces", "no-network", "protected", "unknown-kind"],
  ...["static-pod", "isolate-never", "allowed-by-policy", "no-right"],
]);
/** It was asked for, and nobody has said that the cluster's network does it: nothing rests on that. */
const UNSEEN = "enforcement-unknown";

const FRUITLESS: ReadonlySet<ActionState> = new Set([ActionState.REFUSED, ActionState.FAILED]);

type Of = Pick<ActionRow, "nodeId" | "containerId">;

function isOf({ nodeId, containerId }: Of, each: Of): boolean {
  return each.nodeId === nodeId && each.containerId === containerId;
}

/** Whether isolating this container was refused for a reason that stays. */
export function endsIsolation(container: Of, history: readonly ActionRow[]): boolean {
  return history.some((each) => isOf(container, each) && each.kind === ActionKind.ISOLATE && FRUITLESS.has(each.state) && LASTING.has(each.reason));
}

/** Whether what was done holds the container, or took it away. */
export function isContaining({ kind, state, reason }: Pick<ActionRow, "kind" | "state" | "reason">): boolean {
  return state === ActionState.DONE && kind !== ActionKind.RELEASE && !(kind === ActionKind.ISOLATE && reason === UNSEEN);
}

/** What was done, without what was undone since, and without what undid it. */
export function withoutUndone<A extends Pick<ActionRow, "id" | "kind" | "state" | "undoes">>(history: readonly A[]): readonly A[] {
  const releases = history.filter(({ kind }) => kind === ActionKind.RELEASE);
  if (releases.length === 0) return history;
  const undone = new Set(releases.filter(({ state }) => state === ActionState.DONE).map(({ undoes }) => undoes));
  return history.filter(({ id, kind, state }) => !undone.has(id) && (kind !== ActionKind.RELEASE || UNSETTLED.has(state)));
}

/**
 * An isolated container still has its drift, and so has one that people have released: that is no reason to do more.
 * @param container `unmeasurable`: by its own doing, which may hide any drift @param drifts of the container @returns undefined: nothing stands against the next rung, since more has come, or for too long nobody has put it right
 */
export function restsOn(
  container: Of & { readonly unmeasurable: boolean },
  drifts: readonly DriftRow[],
  history: readonly ActionRow[],
  { escalateAfterSeconds }: Pick<ResponseRule, "escalateAfterSeconds">,
  nowMs: number,
): "contained" | "isolated" | "released" | undefined {
  const own = history.filter((each) => isOf(container, each) && each.state === ActionState.DONE).toSorted((a, b) => a.number - b.number);
  const last = own.findLast(({ kind }) => kind === ActionKind.ISOLATE || kind === ActionKind.RELEASE);
  if (!last || (last.kind === ActionKind.ISOLATE && !isContaining(last))) return undefined;
  const sinceMs = last.settledAtMs ?? last.createdAtMs;
  if (drifts.some(({ committedAtMs }) => committedAtMs > sinceMs)) return undefined;
  // What people released for a drift was not released for this.
  if (last.kind === ActionKind.RELEASE) return container.unmeasurable && last.driftId !== "" ? undefined : "released";
  if (escalateAfterSeconds === undefined) return "contained";
  return nowMs - sinceMs < escalateAfterSeconds * 1000 ? "isolated" : undefined;
}

/** What is isolated by an action that is not undone, by action. @param rows of any containers, in any order */
export function standingIsolations(rows: Iterable<ActionRow>): ActionRow[] {
  return withoutUndone([...rows]).filter(({ kind, state }) => kind === ActionKind.ISOLATE && state === ActionState.DONE);
}

/** @param own all actions on the container @returns why it cannot be undone, in words */
export function refuseUndo(row: ActionRow, own: readonly ActionRow[]): string | undefined {
  if (row.kind !== ActionKind.ISOLATE) return "only an isolation can be undone";
  // One of which nothing was heard may have been carried out all the same: its actuator knows.
  if (row.state !== ActionState.DONE && row.state !== ActionState.FAILED && row.state !== ActionState.EXPIRED) return "it was not carried out";
  if (own.some(({ kind, state, undoes }) => kind === ActionKind.RELEASE && undoes === row.id && state === ActionState.DONE)) return "it is undone already";
  const active = own.find(({ state }) => UNSETTLED.has(state));
  return active && `${active.id} on the same container is not settled`;
}

/** People whose word policy asks for before an isolation is undone. @param row of the isolation, or of its release */
export function releaseApprovals({ rule }: Pick<ActionRow, "rule">, { response }: Pick<Policy, "response">): number {
  return response.rules.find(({ name }) => name === rule)?.approvalsFor.release ?? 1;
}

/** The action that undoes it, with the first person's word. */
export function newRelease(
  id: string,
  number: number,
  isolation: ActionRow,
  { by, reason, needed }: { readonly by: string; readonly reason: string; readonly needed: number },
  nowMs: number,
): ActionRow {
  const { capture: _capture, intent: _intent, ...same } = isolation;
  return {
    ...same,
    ...{ id, number, kind: ActionKind.RELEASE, state: ActionState.AWAITING, undoes: isolation.id, createdAtMs: nowMs, logIndex: -1 },
    ...{
      issuedAtMs: undefined,
      expiresAtMs: undefined,
      intent: undefined,
      settledAtMs: undefined,
      deniedBy: "",
      reason: "",
      detail: reason,
      newContainerId: "",
    },
    ...{ approvalsNeeded: needed, approvals: [{ by, atMs: nowMs }] },
  };
}
