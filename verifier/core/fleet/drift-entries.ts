/** Which changes of a drift are worth an entry of the log. Pure. */
import type { DriftEntries, DriftRow } from "../../ports/rows.ts";
import { sightOf } from "./drift-rows.ts";

/** Before the second entry of changed content alone since its state, kind or severity changed; doubled with each: 10 minutes. */
export const FIRST_PAUSE_MS = 600_000;
/** A day. */
export const MAX_PAUSE_MS = 86_400_000;

/**
 * Another state, kind or severity always has an entry. Whoever runs the workload decides how often its content changes: the first change has one, each further one only after a pause.
 * @param before undefined where the drift is opened @returns how its entries stand with the one that is due; undefined: none is
 */
export function entryDue(row: DriftRow, before: DriftRow | undefined, nowMs: number): DriftEntries | undefined {
  const newest = before?.entries;
  const sight = sightOf(row);
  if (!before) return { count: 1, newestAtMs: nowMs, sight, ofContent: 0 };
  const { count } = newest ?? { count: undefined };
  const next = { count: count === undefined ? undefined : count + 1, newestAtMs: nowMs, sight };
  if (before.state !== row.state || before.kind !== row.kind || before.severity !== row.severity) return { ...next, ofContent: 0 };
  if (!newest) return sight === sightOf(before) ? undefined : { ...next, ofContent: 1 };
  const pauseMs = newest.ofContent === 0 ? 0 : Math.min(FIRST_PAUSE_MS * 2 ** (newest.ofContent - 1), MAX_PAUSE_MS);
  return sight !== newest.sight && nowMs - newest.newestAtMs >= pauseMs ? { ...next, ofContent: newest.ofContent + 1 } : undefined;
}
