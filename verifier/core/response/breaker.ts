/** How much may be done: so that a false alarm of the whole fleet stays an alarm. */
import { ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow } from "../../ports/rows.ts";
import type { ResultCounts } from "../../ports/store.ts";

export interface BreakerLimits {
  /** Between two actions on one workload, in milliseconds. */
  readonly pauseMs: number;
  /** Of all containers but sandboxes, in percent an hour: 0..100. One action an hour is always within it. */
  readonly hourlyPercent: number;
}

/** An action that was issued. */
export interface Issued {
  /** On the workload that is asked about. */
  readonly ofWorkload: boolean;
  /** Unix milliseconds. */
  readonly atMs: number;
  /** It changed nothing, and is none of an hour's actions. */
  readonly fruitless?: boolean;
}

export const HOUR_MS = 3_600_000;

/**
 * Since when an action counts in the limits; undefined: it does not. What is captured first is issued next: many at once must not all pass before the first is issued. In dry-run what would have
 * been issued counts.
 */
export function countsAtMs({
  state,
  issuedAtMs,
  capturing,
  createdAtMs,
}: Pick<ActionRow, "state" | "issuedAtMs" | "capturing" | "createdAtMs">): number | undefined {
  if (state === ActionState.CAPTURING) return capturing?.sinceMs;
  return issuedAtMs ?? (state === ActionState.DRY_RUN ? createdAtMs : undefined);
}

/** Whether it does within the hour; what is to come does too, for the clock was set back since. */
export function countsNow(row: Parameters<typeof countsAtMs>[0], nowMs: number): boolean {
  const atMs = countsAtMs(row);
  return atMs !== undefined && nowMs - atMs < HOUR_MS;
}

/** What a share is taken of: containers in which a workload runs. A sandbox is there for each pod, and would make it two. */
export function countedContainers({ byVerdict, sandboxes }: Pick<ResultCounts, "byVerdict" | "sandboxes">): number {
  return Object.values(byVerdict).reduce((sum, n) => sum + n, 0) - sandboxes;
}

/** Actions an hour that are within the limits for so many containers. */
export function hourlyLimit(containers: number, { hourlyPercent }: Pick<BreakerLimits, "hourlyPercent">): number {
  return Math.max(1, Math.floor((containers * hourlyPercent) / 100));
}

/**
 * @param issued at least those of the last hour and of the last `pauseMs`. Times to come count: the clock was set back since
 * @returns why one more is too many; undefined: it is within the limits
 */
export function overLimit(issued: readonly Issued[], containers: number, limits: BreakerLimits, nowMs: number): "cooling-down" | "breaker" | undefined {
  if (issued.some(({ ofWorkload, atMs }) => ofWorkload && nowMs - atMs < limits.pauseMs)) return "cooling-down";
  return issued.filter(({ atMs, fruitless }) => !fruitless && nowMs - atMs < HOUR_MS).length >= hourlyLimit(containers, limits) ? "breaker" : undefined;
}
