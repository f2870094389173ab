/** Whether what is decided now is what people were asked about. Pure. */
import type { ActionRow } from "../../ports/rows.ts";
import type { Decision } from "./decide.ts";
import type { NodeDecision } from "./decide-node.ts";
import { toRevision } from "./steps.ts";

/** What is issued is what the row says: of a rollback the same revisions, and each of them of the same images. */
export function isSameAction(decision: Extract<Decision | NodeDecision, { act: true }>, row: ActionRow): boolean {
  if (decision.kind !== row.kind) return false;
  if ("node" in decision) return decision.marks.join() === row.node?.marks.join();
  const named = ({ rollout }: Pick<ActionRow, "rollout">): string =>
    JSON.stringify(rollout && { uid: rollout.owner.uid, of: rollout.revisions.map(toRevision) });
  return decision.pod?.uid === row.pod?.uid && decision.target?.configDigest === row.target?.configDigest && named(decision) === named(row);
}
