/** Questions to the API server that each have their time, asked one after the other; how long each waits after a failure is its own. */
import type { Clock } from "../../ports/clock.ts";
import { pause } from "./follow.ts";

/** After a failure; then each time twice as long. */
export const MIN_RETRY_MS = 1_000;
export const MAX_RETRY_MS = 300_000;

/** A question that waits. */
export interface Due {
  retryMs: number;
  /** Unix milliseconds; 0: at once. */
  dueMs: number;
}

export interface DueReadsOptions<T extends Due> {
  readonly clock: Clock;
  /** The one that is due first of those that wait. */
  readonly next: () => T | undefined;
  /** Longest time that one may have been given: where the clock was set back, none waits longer. Milliseconds. */
  readonly longestMs: (each: T) => number;
  /** Asks it. @returns milliseconds until the next at the earliest @throws what went wrong */
  readonly read: (each: T) => Promise<number>;
  /** It went wrong: says when it is due again. @returns as of `read` */
  readonly failed: (each: T, error: unknown) => number;
}

export class DueReads<T extends Due> {
  readonly #options: DueReadsOptions<T>;
  #wake: (() => void) | undefined;

  constructor(options: DueReadsOptions<T>) {
    this.#options = options;
  }

  /** There is one that was not there before. */
  wake(): void {
    this.#wake?.();
  }

  /** Until the signal aborts. Never rejects: what goes wrong is told. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, next, longestMs, read, failed } = this.#options;
    const wake = (): void => this.wake();
    signal.addEventListener("abort", wake);
    while (!signal.aborted) {
      const first = next();
      const waitMs = first ? first.dueMs - clock.nowMs() : undefined;
      if (!first || (waitMs !== undefined && waitMs > 0 && waitMs <= longestMs(first))) {
        await this.#woken(waitMs);
        continue;
      }
      let restMs: number;
      try {
        restMs = await read(first);
      } catch (error) {
        if (signal.aborted) break;
        restMs = failed(first, error);
      }
      if (restMs > 0) await pause(clock, restMs, signal);
    }
    signal.removeEventListener("abort", wake);
  }

  /** @param withinMs undefined: for as long as it takes */
  async #woken(withinMs: number | undefined): Promise<void> {
    let cancel = (): void => {};
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (withinMs !== undefined) cancel = this.#options.clock.after(withinMs, resolve);
    });
    cancel();
  }
}
