/** Whether what is decided now is what people were asked about. Pure. */
import type { ActionRow } from "../../ports/rows.ts";
import type { Decision } from "./decide.ts";
import type { NodeDecision } from "./decide-node.ts";
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
