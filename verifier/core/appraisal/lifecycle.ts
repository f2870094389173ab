/** Findings over time: the same thing seen again is the same drift; what is no longer found is resolved, and only where it could have been found. */
import type { Finding } from "./types.ts";

/** A drift on record, as far as its life goes. */
export interface OpenDrift {
  /** {@link Finding.key} */
  readonly key: string;
  /** What the record shows now: compared to see whether an update is worth writing. */
  readonly fingerprint: string;
}

export interface DriftChanges<D> {
  readonly opened: readonly Finding[];
  readonly updated: readonly { readonly drift: D; readonly finding: Finding }[];
  readonly resolved: readonly D[];
}

/**
 * @param open every unresolved drift of the container, by key
 * @param conclusive false while something bars judging (unknown), of all or of one: then it is not resolved, since not finding proves nothing
 * @param shows whether the drift shows this finding already: for callers that know without comparing
 */
export function reconcile<D extends OpenDrift>(
  open: ReadonlyMap<string, D>,
  findings: readonly Finding[],
  conclusive: boolean | ((drift: D) => boolean),
  shows: (drift: D, finding: Finding) => boolean = showsFinding,
): DriftChanges<D> {
  const seen = new Set<string>();
  const opened: Finding[] = [];
  const updated: { drift: D; finding: Finding }[] = [];
  for (const finding of findings) {
    if (seen.has(finding.key)) continue;
    seen.add(finding.key);
    const drift = open.get(finding.key);
    if (!drift) opened.push(finding);
    else if (!shows(drift, finding)) updated.push({ drift, finding });
  }
  const provable = typeof conclusive === "boolean" ? () => conclusive : conclusive;
  const resolved = [...open.values()].filter((drift) => !seen.has(drift.key) && provable(drift));
  return { opened, updated, resolved };
}

export function showsFinding({ fingerprint }: OpenDrift, finding: Finding): boolean {
  return fingerprint === findingFingerprint(finding);
}

/** Changes when anything that a person is shown changes. */
export function findingFingerprint(finding: Finding): string {
  const { kind, severity, notice, summary, mappedBy, actor, exception } = finding;
  // Digests may change under an equal summary: a new file that is written after it was first seen.
  const observed = finding.differences.map((difference) => difference.observed);
  return JSON.stringify([kind, severity, notice, summary, observed, mappedBy, actor?.pid, actor?.executable, ...(exception === undefined ? [] : [exception])]);
}
