/** Findings over time: the same thing seen again is the same drift; what is no longer found is resolved, and only where it could have been found. */
import type { Finding } from "./types.ts";

/** A drift on record, as far as its life goes. */
export interface OpenDrift {
  readonly id: string;
  /** {@link Finding.key} */
  readonly key: string;
  /** What the record shows now: compared to see whether an update is worth writing. */
  readonly fingerprint: string;
}

export interface DriftChanges {
  readonly opened: readonly Finding[];
  readonly updated: readonly { readonly id: string; readonly finding: Finding }[];
  readonly resolved: readonly string[];
}

/**
 * @param open every unresolved drift of the container
 * @param conclusive false while something bars judging (unknown): then nothing is resolved, since not finding proves nothing
 */
export function reconcile(open: readonly OpenDrift[], findings: readonly Finding[], conclusive: boolean): DriftChanges {
  const byKey = new Map(open.map((drift) => [drift.key, drift]));
  const seen = new Set<string>();
  const opened: Finding[] = [];
  const updated: { id: string; finding: Finding }[] = [];
  for (const finding of findings) {
    if (seen.has(finding.key)) continue;
    seen.add(finding.key);
    const known = byKey.get(finding.key);
    if (!known) opened.push(finding);
    else if (known.fingerprint !== findingFingerprint(finding)) updated.push({ id: known.id, finding });
  }
  const resolved = conclusive ? open.filter(({ key }) => !seen.has(key)).map(({ id }) => id) : [];
  return { opened, updated, resolved };
}

/** Changes when anything that a person is shown changes. */
export function findingFingerprint(finding: Finding): string {
  const { kind, severity, notice, summary, mappedBy, actor } = finding;
  // Digests may change under an equal summary: a new file that is written after it was first seen.
  const observed = finding.differences.map((difference) => difference.observed);
  return JSON.stringify([kind, severity, notice, summary, observed, mappedBy, actor?.pid, actor?.executable]);
}
