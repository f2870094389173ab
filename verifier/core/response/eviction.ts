/** Which containers' pods can be evicted, and for how long that is asked for. Pure. */
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow, DriftRow } from "../../ports/rows.ts";
import type { Policy, ResponseRule } from "../policy/types.ts";

/** Why a cluster's actuator will not evict this pod, today or tomorrow: the rung after it is meant then. Codes of docs/response.md. */
const LASTING: ReadonlySet<string> = new Set(["bare-pod", "evict-never", "protected", "static-pod"]);

/** As agents name the containers of pods: `NAMESPACE/POD/CONTAINER`. An engine's own names have no slash. */
export function isInPod(containerName: string): boolean {
  return containerName.split("/").length === 3;
}

/** Whether evicting the pod of this container was refused for a reason that stays. */
export function endsEviction({ nodeId, containerId }: Pick<ActionRow, "nodeId" | "containerId">, history: readonly ActionRow[]): boolean {
  return history.some(
    (each) =>
      each.nodeId === nodeId &&
      each.containerId === containerId &&
      each.kind === ActionKind.EVICT &&
      each.state === ActionState.REFUSED &&
      LASTING.has(each.reason),
  );
}

/** Disruption budgets forbid it now, or, where it has failed, for as long as its intent lived. A code of docs/response.md. */
export const BUDGET = "pdb";

/** Disruption budgets forbade it for as long as its intent lived. */
export function isForbiddenByBudget({ kind, state, reason }: Pick<ActionRow, "kind" | "state" | "reason">): boolean {
  return kind === ActionKind.EVICT && state === ActionState.FAILED && reason === BUDGET;
}

/**
 * Whether the eviction of this container's pod has been forbidden for as long as policy has it asked for. @param drifts of it that are open: what was forbidden for one that is over says nothing
 * of budgets now
 */
export function isBudgetWaitOver(
  { patienceSeconds }: ResponseRule["budget"],
  { nodeId, containerId }: Pick<ActionRow, "nodeId" | "containerId">,
  drifts: readonly Pick<DriftRow, "id">[],
  history: readonly ActionRow[],
  nowMs: number,
): boolean {
  // Of what nobody can measure there is no drift.
  const isOpen = ({ driftId }: ActionRow): boolean => driftId === "" || drifts.some(({ id }) => id === driftId);
  const forbidden = history.filter((each) => each.nodeId === nodeId && each.containerId === containerId && isForbiddenByBudget(each));
  return forbidden.filter(isOpen).some(({ issuedAtMs, createdAtMs }) => nowMs - (issuedAtMs ?? createdAtMs) >= patienceSeconds * 1000);
}

/** An eviction is asked for no longer than policy says at a time. @param lifetimeMs of other intents @returns milliseconds */
export function lifetimeFor({ kind, rule }: Pick<ActionRow, "kind" | "rule">, { response }: Pick<Policy, "response">, lifetimeMs: number): number {
  const budget = response.rules.find(({ name }) => name === rule)?.budget;
  return kind === ActionKind.EVICT && budget ? Math.min(lifetimeMs, budget.patienceSeconds * 1000) : lifetimeMs;
}
