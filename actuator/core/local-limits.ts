/** What no verifier can raise: how often, and how much of all. Pure. */
import { Outcome } from "@hullmark/proto/v1/response";
import type { LedgerEntry } from "../ports/ledger.ts";
import type { LocalLimits } from "./hands.ts";

const HOUR_MS = 3_600_000;

/**
 * What was begun counts, however it ended; times to come count too, since the clock was set back.
 * @param all what `hourlyPercent` is of
 */
export function overLocalLimit(
  name: string,
  ledger: readonly LedgerEntry[],
  all: number,
  nowMs: number,
  { pauseMs, hourlyPercent }: LocalLimits,
): "cooling-down" | "breaker" | undefined {
  const begun = ledger.filter(({ settled }) => settled?.outcome !== Outcome.REFUSED);
  if (begun.some((each) => each.name === name && nowMs - each.receivedAtMs < pauseMs)) return "cooling-down";
  const limit = Math.max(1, Math.floor((all * hourlyPercent) / 100));
  return begun.filter(({ receivedAtMs }) => nowMs - receivedAtMs < HOUR_MS).length >= limit ? "breaker" : undefined;
}
