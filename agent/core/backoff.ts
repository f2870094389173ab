/** Waiting times between attempts: full jitter, so that ten thousand agents do not come back at once. */
export interface BackoffOptions {
  /** Upper bound of the first wait, milliseconds. */
  readonly baseMs: number;
  readonly maxMs: number;
}

/** @param attempt 0 for the first wait @param random 0..1 */
export function backoffMs({ baseMs, maxMs }: BackoffOptions, attempt: number, random: number): number {
  return Math.round(random * Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30)));
}
