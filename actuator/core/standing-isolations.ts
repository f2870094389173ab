/** Which containers are isolated by this actuator, from its ledger. Pure. */
import { ActionKind, Outcome } from "@hullmark/proto/v1/response";
import type { LedgerEntry } from "../ports/ledger.ts";

/** By container: the isolation that holds, with the networks that the container was on. One that failed may have been put back in part: it can be released too. */
export function standingIsolations(entries: Iterable<LedgerEntry>): ReadonlyMap<string, LedgerEntry> {
  const standing = new Map<string, LedgerEntry>();
  for (const entry of entries) {
    if (entry.kind === ActionKind.ISOLATE && entry.settled?.outcome !== Outcome.REFUSED) standing.set(entry.containerId, entry);
    if (entry.kind === ActionKind.RELEASE && entry.settled?.outcome === Outcome.DONE) standing.delete(entry.containerId);
  }
  return standing;
}
