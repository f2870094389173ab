/** What this actuator has put on nodes and not taken away again, as its ledger tells. Pure. */
import { ActionKind, type NodeMark, Outcome } from "@hullmark/proto/v1/response";
import type { LedgerEntry } from "../ports/ledger.ts";

interface StandingOn {
  readonly name: string;
  readonly marks: readonly NodeMark[];
}

/** By node id. @param ledger in the order in which it came */
export function standingOn(ledger: Iterable<LedgerEntry>): ReadonlyMap<string, StandingOn> {
  const standing = new Map<string, StandingOn>();
  for (const { node, kind, settled } of ledger) {
    // What was refused, or is not ended, changed nothing that is known: not even by which name a node goes.
    if (!node || !settled || settled.outcome === Outcome.REFUSED) continue;
    const before = standing.get(node.nodeId)?.marks ?? [];
    const done = settled.marks ?? [];
    const gone = kind === ActionKind.LIFT_NODE ? (settled.outcome === Outcome.DONE ? node.marks : done) : [];
    const marks = [...new Set([...before, ...(kind === ActionKind.MARK_NODE ? done : [])])].filter((mark) => !gone.includes(mark));
    if (marks.length > 0) standing.set(node.nodeId, { name: node.name, marks });
    else standing.delete(node.nodeId);
  }
  return standing;
}
