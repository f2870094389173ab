/** Whether what is decided now is what people were asked about. Pure. */
import { ActionKind } from "@hullmark/proto/v1/response";
import type { ActionRow } from "../../ports/rows.ts";
import type { Policy } from "../policy/types.ts";
import type { Decision } from "./decide.ts";
import type { NodeDecision } from "./decide-node.ts";
import { releaseApprovals } from "./isolation.ts";
import { purgeApprovals } from "./purge.ts";
import { approvalsOf } from "./rungs.ts";
import { toRevision } from "./steps.ts";

type Act = Extract<Decision | NodeDecision, { act: true }>;

/** What is issued is what the row says: of a rollback the same revisions, and each of them of the same images; by the word of as many people, and of the owners, that policy says now. */
export function isSameAction(decision: Act, row: ActionRow): boolean {
  if (decision.kind !== row.kind || !isOfSameRule(decision, row)) return false;
  if ("node" in decision) return decision.marks.join() === row.node?.marks.join();
  // What may not be gone back to any more is not what people were asked about.
  if (decision.refusal !== undefined) return false;
  const named = ({ rollout }: Pick<ActionRow, "rollout">): string =>
    JSON.stringify(rollout && { uid: rollout.owner.uid, of: rollout.revisions.map(toRevision) });
  return decision.pod?.uid === row.pod?.uid && decision.target?.configDigest === row.target?.configDigest && named(decision) === named(row);
}

function isOfSameRule(decision: Act, row: Pick<ActionRow, "rule" | "approvalsNeeded" | "owners">): boolean {
  const now =
    "node" in decision
      ? { name: decision.rule, approvals: decision.approvals, owners: [] }
      : { name: decision.rule.name, approvals: approvalsOf(decision.rule, decision.kind), owners: decision.rule.owners };
  return now.name === row.rule && now.approvals === row.approvalsNeeded && now.owners.join() === row.owners.join();
}

/** People whose word is needed now for what people alone ask for, which is not asked for anew where policy wants more of them; of all else as when it was asked for. */
export function peopleFor(row: ActionRow, policy: Pick<Policy, "response">): number {
  if (row.kind === ActionKind.PURGE) return Math.max(row.approvalsNeeded, purgeApprovals(policy, row.nodeName));
  if (row.kind === ActionKind.RELEASE) return Math.max(row.approvalsNeeded, releaseApprovals(row, policy));
  return row.approvalsNeeded;
}
