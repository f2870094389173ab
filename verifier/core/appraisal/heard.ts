/** Whether a node is heard, and vouches for what runs there, by its reasons. */

interface Reason {
  readonly code: string;
}

/** While one of these stands, the node has not been heard and appraised again; of the first ones it is silent, of the next it is heard and its word is worth nothing. */
const UNHEARD = ["never-seen", "stale", "unreachable"] as const;
const WORTHLESS = ["resync", "no-quote", "quote-stale", "tpm", "runtime-unreachable", "change-source-dead", "spool-lost", "measuring"] as const;
const EITHER: ReadonlySet<string> = new Set([...UNHEARD, ...WORTHLESS]);
const PAST: ReadonlySet<string> = new Set([...UNHEARD, "no-quote", "quote-stale"]);

export function isHeard(reasons: readonly Reason[]): boolean {
  return !reasons.some(({ code }) => EITHER.has(code));
}

/** Whether it speaks now, and where it has a TPM has quoted: what it does not prove of its boot then, it does not prove at all. */
export function isCurrent(reasons: readonly Reason[]): boolean {
  return !reasons.some(({ code }) => PAST.has(code));
}

/**
 * Whether nothing that runs there is judged, by the node's doing: whoever is root there can keep an agent heard, and its TPM or runtime from it. That the verifier does not
 * ask says nothing of the node.
 */
export function isUnjudged(reasons: readonly Reason[]): boolean {
  return reasons.some(({ code }) => EITHER.has(code)) && !reasons.some(({ code }) => code === "verifier-overloaded");
}
