/** How long nothing has been heard of each node, or nothing that can be judged, counted only while this verifier was there to hear it: what it slept through, or was stopped for, is no silence of theirs. */

/** One step counts for no more: the process was stopped, the machine slept, or the clock was set on. */
const MAX_STEP_MS = 5_000;

export class Silence {
  #silentMs: ReadonlyMap<string, number> = new Map();
  #lookedMs: number | undefined;

  /**
   * To be called each second. Whoever is not named was heard and judged, and begins anew.
   * @param silent ids of nodes of which nothing is heard, or judged, now
   * @param begun ids of those that are heard, and not judged yet: what was counted stands, or an agent that ends as often as it starts would never be silent
   * @param nowMs Unix milliseconds; what lies before the last call adds nothing
   */
  look(silent: Iterable<string>, begun: Iterable<string>, nowMs: number): void {
    const passedMs = Math.min(Math.max(0, nowMs - (this.#lookedMs ?? nowMs)), MAX_STEP_MS);
    this.#lookedMs = nowMs;
    const before = this.#silentMs;
    const counted = new Map<string, number>();
    for (const id of begun) counted.set(id, before.get(id) ?? 0);
    for (const id of silent) counted.set(id, (before.get(id) ?? -passedMs) + passedMs);
    this.#silentMs = counted;
  }

  /** Milliseconds; 0 of a node that is heard. */
  ms(nodeId: string): number {
    return this.#silentMs.get(nodeId) ?? 0;
  }
}
