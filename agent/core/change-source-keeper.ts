/** Keeps a change source working: while it does not, the agent says that it has none, and it is started anew. */
import { type ChangeHandler, type ChangeSource, ChangeSourceError } from "../ports/change-source.ts";
import type { Clock } from "../ports/clock.ts";

/** The wait before a start anew, doubled each time until a source has worked for the longest: every start makes the agent look at everything again. */
const FIRST_WAIT_MS = 10_000;
const LONGEST_WAIT_MS = 300_000;

export interface ChangeSourceKeeperOptions {
  readonly source: ChangeSource;
  readonly handler: Omit<ChangeHandler, "failed">;
  readonly clock: Clock;
  /** It works, for the first time or again. */
  readonly works: () => void;
  /** It does not, or still not. */
  readonly fails: (error: unknown) => void;
}

export class ChangeSourceKeeper {
  readonly #options: ChangeSourceKeeperOptions;
  #failure = Promise.withResolvers<ChangeSourceError>();

  constructor(options: ChangeSourceKeeperOptions) {
    this.#options = options;
  }

  /** The first start. @throws ChangeSourceError SOURCE_UNAVAILABLE */
  async start(): Promise<void> {
    const { source, handler, works } = this.#options;
    const failure = Promise.withResolvers<ChangeSourceError>();
    this.#failure = failure;
    await source.start({ ...handler, failed: (error) => failure.resolve(error) });
    works();
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, fails, handler } = this.#options;
    const aborted = new Promise<undefined>((resolve) => signal.addEventListener("abort", () => resolve(undefined), { once: true }));
    let waitMs = FIRST_WAIT_MS;
    let startedMs = clock.nowMs();
    while (!signal.aborted) {
      const failure = await Promise.race([this.#failure.promise, aborted]);
      if (!failure) return;
      if (clock.nowMs() - startedMs > LONGEST_WAIT_MS) waitMs = FIRST_WAIT_MS;
      fails(failure);
      await clock.sleep(waitMs, signal);
      if (signal.aborted) return;
      waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
      startedMs = clock.nowMs();
      try {
        await this.start();
        handler.lost(`the change source was started anew: ${failure.message}`);
      } catch (error) {
        this.#failure.resolve(error instanceof ChangeSourceError ? error : new ChangeSourceError("SOURCE_UNAVAILABLE", String(error), { cause: error }));
      }
    }
  }
}
