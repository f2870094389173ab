/** Lets several callers wait for one piece of work. */

interface Flight {
  readonly result: Promise<unknown>;
  readonly controller: AbortController;
  waiting: number;
}

/** Work is aborted only when nobody waits for it any more; one caller that gives up does not disturb the others. */
export class Coalescer {
  readonly #flights = new Map<string, Flight>();

  async share<T>(key: string, work: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#start(key, work);
    flight.waiting++;
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return (await Promise.race([flight.result, aborted.promise])) as T;
    } finally {
      signal.removeEventListener("abort", onAbort);
      flight.waiting--;
      if (flight.waiting === 0) this.#end(key, flight);
    }
  }

  #start<T>(key: string, work: (signal: AbortSignal) => Promise<T>): Flight {
    const controller = new AbortController();
    const result = work(controller.signal);
    const flight: Flight = { result, controller, waiting: 0 };
    this.#flights.set(key, flight);
    // Whoever waits sees the outcome; a result that nobody waits for any more is nobody's error.
    const forget = () => this.#flights.get(key) === flight && this.#flights.delete(key);
    result.then(forget, forget);
    return flight;
  }

  #end(key: string, flight: Flight): void {
    if (this.#flights.get(key) !== flight) return;
    this.#flights.delete(key);
    flight.controller.abort(new Error("nobody waits for the answer"));
  }
}
