/** What was made of a text, kept while it is asked for: policies name the same keys and roots at every judgement. */
export class Recent<V> {
  readonly #max: number;
  readonly #values = new Map<string, V>();

  /** @param max entries, 1 or more; the one that was not asked for longest goes first */
  constructor(max: number) {
    this.#max = max;
  }

  /** What `make` throws is not kept. */
  get(key: string, make: () => V): V {
    const known = this.#values.get(key);
    const value = known ?? make();
    this.#values.delete(key);
    this.#values.set(key, value);
    for (const oldest of this.#values.keys()) {
      if (this.#values.size <= this.#max) break;
      this.#values.delete(oldest);
    }
    return value;
  }
}
