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
  const begun = ledger.filter(counts);
  if (begun.some((each) => each.name === name && nowMs - each.receivedAtMs < pauseMs)) return "cooling-down";
  const limit = Math.max(1, Math.floor((all * hourlyPercent) / 100));
  const used = usedInHour(ledger, nowMs);
  return used > 0 && used + weight > limit ? "breaker" : undefined;
}

/** How many were taken away within the hour. While that is none, {@link overLocalLimit} allows the next one of however many. */
export function usedInHour(ledger: readonly LedgerEntry[], nowMs: number): number {
  const changing = ledger.filter((each) => counts(each) && (each.settled?.outcome !== Outcome.FAILED || each.settled.reason !== BUDGET));
  return changing.reduce((sum, { receivedAtMs, weight }) => sum + (nowMs - receivedAtMs < HOUR_MS ? (weight ?? 1) : 0), 0);
}

function counts({ kind, node, settled }: LedgerEntry): boolean {
  return !node && kind !== ActionKind.RELEASE && settled?.outcome !== Outcome.REFUSED;
}
