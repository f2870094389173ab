/** A bounded queue between code that must not wait and a stream that may. One reader. */
export class PushQueue<T> implements AsyncIterable<T> {
  readonly #limit: number;
  readonly #onOverflow: () => unknown;
  #items: T[] = [];
  #wake: (() => void) | undefined;
  #ended: { readonly error: unknown } | undefined;

  /** @param limit items that may wait; one more ends the queue with what `onOverflow` returns */
  constructor(limit: number, onOverflow: () => unknown) {
    this.#limit = limit;
    this.#onOverflow = onOverflow;
  }

  push(item: T): void {
    if (this.#ended) return;
    if (this.#items.length >= this.#limit) this.end(this.#onOverflow());
    else this.#items.push(item);
    this.#wake?.();
  }

  /** What was pushed before is still read. @param error thrown to the reader at the end; undefined: it just ends */
  end(error?: unknown): void {
    this.#ended ??= { error };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      const items = this.#items;
      this.#items = [];
      for (const item of items) yield item;
      if (this.#items.length > 0) continue;
      if (this.#ended) {
        if (this.#ended.error !== undefined) throw this.#ended.error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}
