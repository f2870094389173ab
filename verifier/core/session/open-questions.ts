/** What one node is asked for people, over one stream: each question once, and for a bounded time. */

/** @returns cancels it */
export type After = (delayMs: number, run: () => void) => () => void;

const MAX_OPEN = 4;
const PATIENCE_MS = 15_000;

export class OpenQuestions<Answer extends { readonly id: bigint }> {
  readonly #after: After;
  readonly #open = new Map<bigint, (answer: Answer | undefined) => void>();
  #lastId = 0n;

  constructor(after: After) {
    this.#after = after;
  }

  /** @param send what is asked, under this id @returns undefined: the node did not answer @throws the signal's reason */
  async ask(send: (id: bigint) => void, signal: AbortSignal): Promise<Answer | "too-many" | undefined> {
    signal.throwIfAborted();
    if (this.#open.size >= MAX_OPEN) return "too-many";
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<Answer | undefined>();
    this.#open.set(id, resolve);
    const cancel = this.#after(PATIENCE_MS, () => resolve(undefined));
    const aborted = (): void => reject(signal.reason);
    signal.addEventListener("abort", aborted, { once: true });
    try {
      send(id);
      return await promise;
    } finally {
      signal.removeEventListener("abort", aborted);
      cancel();
      this.#open.delete(id);
    }
  }

  /** An answer to nothing is ignored: its question was given up, or never asked. */
  accept(answer: Answer): void {
    this.#open.get(answer.id)?.(answer);
  }

  /** The stream has ended. */
  close(): void {
    for (const settle of this.#open.values()) settle(undefined);
  }
}
