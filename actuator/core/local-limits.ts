/** What no verifier can raise: how often, and how much of all. Pure. */
import { ActionKind, Outcome } from "@hullmark/proto/v1/response";
import type { LedgerEntry } from "../ports/ledger.ts";
import type { LocalLimits } from "./hands.ts";

const HOUR_MS = 3_600_000;

/** Budgets forbade it until it ended: the pod was there still. A code of docs/response.md. */
export const BUDGET = "pdb";

/**
 * What was begun counts, however it ended, but for what undoes it, and what is done to nodes (its limits are NodeLimits); times to come count too, since the clock was set back. What budgets forbade changed nothing, and counts in the pause alone.
 * @param all what `hourlyPercent` is of @param weight how many of them it would take away. One action an hour is always within it
 */
export function overLocalLimit(
  name: string,
  ledger: readonly LedgerEntry[],
  all: number,
  nowMs: number,
  { pauseMs, hourlyPercent }: LocalLimits,
  weight = 1,
): "cooling-down" | "breaker" | undefined {
  const begun = ledger.filter(({ kind, node, settled }) => !node && kind !== ActionKind.RELEASE && settled?.outcome !== Outcome.REFUSED);
  if (begun.some((each) => each.name === name && nowMs - each.receivedAtMs < pauseMs)) return "cooling-down";
  const limit = Math.max(1, Math.floor((all * hourlyPercent) / 100));
  const changing = begun.filter(({ settled }) => settled?.outcome !== Outcome.FAILED || settled.reason !== BUDGET);
  const used = changing.reduce((sum, each) => sum + (nowMs - each.receivedAtMs < HOUR_MS ? (each.weight ?? 1) : 0), 0);
  return used > 0 && used + weight > limit ? "breaker" : undefined;
}
