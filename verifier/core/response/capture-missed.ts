import type { ActionRow } from "../../ports/rows.ts";
import { text } from "../fleet/log-facts.ts";

/** NOT_ANSWERED: within the time that policy names. NOT_TAKEN: the node, or the host, says why. */
export const MISSED = { NOT_ANSWERED: "not-answered", NOT_TAKEN: "not-taken" } as const;

/** Reason of an action that failed because nothing was captured. */
export const UNCAPTURED = "capture";

const MAX_PROBLEM_CHARS = 500;

/** @param problem in words of whoever was to take it, an attacker perhaps */
export function missed(row: ActionRow, code: (typeof MISSED)[keyof typeof MISSED], nowMs: number, problem = ""): ActionRow {
  return { ...row, captureMissed: { code, problem: text(problem).slice(0, MAX_PROBLEM_CHARS), atMs: nowMs } };
}

/** Whether the time in which a capture was waited for is over. A clock that was set back since lengthens no wait. */
export function isWaitOver({ sinceMs, untilMs }: NonNullable<ActionRow["capturing"]>, nowMs: number): boolean {
  return Math.abs(nowMs - sinceMs) >= untilMs - sinceMs;
}
