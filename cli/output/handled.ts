/** What was done about drift, in the lines that a page has. */
import type { Action } from "@hullmark/proto/v1/response";
import { type HandledAction, toldOf } from "@hullmark/verifier/core/alerting/handled";
import { toMs } from "./words.ts";

/** @param actions oldest first @param field one line of the page; the newest action on each container, or node, counts */
export function handledFields(actions: readonly Action[], field: (name: string, text: string) => string): string[] {
  const newest = new Map(actions.map((action, at) => [`${action.nodeId}/${action.containerId}`, handled(action, at)]));
  return toldOf([...newest.values()]).map(([what, text]) => field(what, text));
}

function handled(action: Action, number: number): HandledAction {
  const { id, kind, state, reason, detail, deniedBy, containerName, nodeName, approvalsNeeded, capture } = action;
  return {
    ...{ id, number, kind, state, reason, detail, deniedBy, containerName, nodeName, approvalsNeeded, capture },
    captureMissed: action.captureMissed ? { code: action.captureMissed, problem: action.captureProblem } : undefined,
    approvals: action.approvals.map(({ by, at }) => ({ by, atMs: toMs(at) ?? 0 })),
    ...{ createdAtMs: toMs(action.createdAt) ?? 0, issuedAtMs: toMs(action.issuedAt), settledAtMs: toMs(action.settledAt) },
  };
}
