/** The drills that there are, and how one can end. */

export const DRILLS = ["canary-file", "canary-exec", "unsigned-canary-image", "revoked-canary-key", "silent-agent"] as const;
export type DrillName = (typeof DRILLS)[number];

/** `passed`: within the objectives. `failed`: not, or not at all. `undecided`: it did not come to that. */
export const DRILL_OUTCOMES = ["passed", "failed", "undecided"] as const;
export type DrillOutcome = (typeof DRILL_OUTCOMES)[number];

/**
 * What became of containing it. `not-asked`: policy asked for no action. `dry-run`: it would have, were its mode `enforce`. `waiting`: for people's approval. `done`: an action ended well.
 * `refused`: it was not let in at all. `failed`: an action was asked for and came to nothing.
 */
export const CONTAINMENTS = ["not-asked", "dry-run", "waiting", "done", "refused", "failed"] as const;
export type ContainmentState = (typeof CONTAINMENTS)[number];

export function isDrill(name: string): name is DrillName {
  return (DRILLS as readonly string[]).includes(name);
}
