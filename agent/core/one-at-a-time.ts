/** Work of which one run is under way at a time: who asks meanwhile gets exactly one run more, however many ask, since what runs may have passed what they ask about. */
export class OneAtATime<T> {
  readonly #work: (wanted: T) => Promise<void>;
  readonly #merge: (a: T, b: T) => T;
  #running = false;
  #next: { wanted: T; readonly done: PromiseWithResolvers<void> } | undefined;

  /** @param merge what is wanted of the one run that serves two requests */
  constructor(work: (wanted: T) => Promise<void>, merge: (a: T, b: T) => T) {
    this.#work = work;
    this.#merge = merge;
  }

  /** Resolves when a run that began after this call is over; rejects as that run does. */
  request(wanted: T): Promise<void> {
    if (!this.#running) return this.#run(wanted);
    if (this.#next) this.#next.wanted = this.#merge(this.#next.wanted, wanted);
    else this.#next = { wanted, done: Promise.withResolvers() };
    return this.#next.done.promise;
  }

  async #run(wanted: T): Promise<void> {
    this.#running = true;
    try {
      await this.#work(wanted);
    } finally {
      this.#running = false;
      const next = this.#next;
      this.#next = undefined;
      if (next) this.#run(next.wanted).then(next.done.resolve, next.done.reject);
    }
  }
}
