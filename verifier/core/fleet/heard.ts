/** Whether a node is heard, by its reasons. */

/** While one of these stands, the node has not been heard and appraised again. */
const UNHEARD: ReadonlySet<string> = new Set(["never-seen", "stale", "unreachable", "resync", "no-quote", "quote-stale", "measuring"]);

export function isHeard(reasons: readonly { readonly code: string }[]): boolean {
  return !reasons.some(({ code }) => UNHEARD.has(code));
}
