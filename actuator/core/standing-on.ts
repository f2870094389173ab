/** What this actuator has put on nodes and not taken away again, as its ledger tells. Pure. */
import { ActionKind, type NodeMark, Outcome } from "@hullmark/proto/v1/response";
import type { LedgerEntry } from "../ports/ledger.ts";

export interface OwnMark {
  /** The name that the hook was told: the node may have another by now. */
  readonly name: string;
  readonly atMs: number;
  /** false: a try was cut off, and whether it put the mark on is not known. */
  readonly sure: boolean;
}

type OwnMarks = ReadonlyMap<NodeMark, OwnMark>;

/** By node id; never empty. @param ledger in the order in which it came */
export function standingOn(ledger: Iterable<LedgerEntry>): ReadonlyMap<string, OwnMarks> {
  const standing = new Map<string, OwnMarks>();
  for (const entry of ledger) {
    // What was refused changed nothing.
    if (!entry.node || entry.settled?.outcome === Outcome.REFUSED) continue;
    const { nodeId, marks, name } = entry.node;
    const own = new Map(standing.get(nodeId));
    const done = entry.settled?.marks ?? [];
    if (entry.kind === ActionKind.MARK_NODE) {
      for (const mark of entry.tried ?? []) if (!own.get(mark)?.sure) own.set(mark, { name, atMs: entry.receivedAtMs, sure: false });
      for (const mark of done) own.set(mark, { name, atMs: entry.receivedAtMs, sure: true });
    } else for (const mark of entry.settled?.outcome === Outcome.DONE ? marks : done) own.delete(mark);
    if (own.size > 0) standing.set(nodeId, own);
    else standing.delete(nodeId);
  }
  return standing;
}
