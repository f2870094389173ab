/** Keeps what the verifier certified for people and the cluster's actuator written and published: what fails is done again a minute later, then after ever longer. */

const LOOK_MS = 6 * 3_600_000;
/** After the first failure; twice as long after each further one, as each attempt may certify what is dropped again. */
const RETRY_MS = 60_000;
const MAX_RETRY_MS = 3_600_000;
/** Looks come a minute apart, some a little early. */
const EARLY_MS = 10_000;

export interface OwnFilesOptions {
  readonly nowMs: () => number;
  /** Writes what is due, all of it or nothing that anybody takes for whole. @returns whether a certificate was made anew */
  readonly write: () => Promise<boolean>;
  /** Begins to hand out what is written. */
  readonly publish: () => void;
}

export class OwnFiles {
  readonly #options: OwnFilesOptions;
  #last: Promise<unknown> = Promise.resolve();
  /** When all was written last; undefined: it failed since. */
  #writtenMs: number | undefined;
  /** Writes are counted: those begun, those done, up to which it is published, and the last that may have left something to publish. */
  #begun = 0;
  #done = 0;
  #published = 0;
  #toPublish = 0;
  /** On end, and when the last of them was. */
  #failures = 0;
  #failedMs = 0;

  constructor(options: OwnFilesOptions) {
    this.#options = options;
  }

  /** One after the other: of two at a time one's key could lie beside the other's certificate. @throws as the writing does; then {@link look} does it again */
  async write(): Promise<void> {
    const write = async (): Promise<void> => {
      this.#writtenMs = undefined;
      const number = ++this.#begun;
      const before = this.#toPublish;
      this.#toPublish = number;
      const anew = await this.#options.write().catch((error: unknown) => {
        this.#failures++;
        this.#failedMs = this.#options.nowMs();
        throw error;
      });
      this.#failures = 0;
      this.#done = number;
      if (!anew) this.#toPublish = before;
      this.#writtenMs = this.#options.nowMs();
    };
    const mine = this.#last.then(write, write);
    this.#last = mine;
    await mine;
  }

  /** What the command and agents pin is another: it is written and published. @throws as {@link write} */
  async changed(): Promise<void> {
    await this.write();
    this.publish();
  }

  /** What is written by now: not what another write has begun meanwhile. */
  publish(): void {
    this.#options.publish();
    this.#published = this.#done;
  }

  get #unpublished(): boolean {
    return this.#toPublish > this.#published;
  }

  /** To be called every minute: what failed is done again, and every six hours what has come of age. @throws as {@link write} */
  async look(): Promise<void> {
    if (!this.#isDue()) return;
    await this.write();
    if (this.#unpublished) this.publish();
  }

  #isDue(): boolean {
    const nowMs = this.#options.nowMs();
    if (this.#failures > 0) return Math.abs(nowMs - this.#failedMs) >= Math.min(RETRY_MS * 2 ** (this.#failures - 1), MAX_RETRY_MS) - EARLY_MS;
    return this.#unpublished || this.#writtenMs === undefined || Math.abs(nowMs - this.#writtenMs) >= LOOK_MS;
  }
}
