/** How long nothing has been heard of each node, or nothing that can be judged, counted only while this verifier was there to hear it: what it slept through, or was stopped for, is no silence of theirs. */

/** One step counts for no more: the process was stopped, the machine slept, or the clock was set on. */
const MAX_STEP_MS = 5_000;
/** A node that is judged for so long, or a fifth of the patience, is back: one whose agent ends as often as it starts is not. */
const STEADY_MS = 60_000;
const STEADY_SHARE = 1 / 5;

export interface Heard {
  /** Ids of nodes of which nothing is heard, or judged, now. */
  readonly silent: Iterable<string>;
  /** Of those that are heard, and not judged yet: what was counted of them stands. */
  readonly begun: Iterable<string>;
}

interface Count {
  readonly silentMs: number;
  /** Since it is judged again; undefined: it is not. */
  readonly judgedMs: number | undefined;
}

export class Silence {
  #counts: ReadonlyMap<string, Count> = new Map();
  #lookedMs: number | undefined;

  /**
   * To be called each second. Whoever is not named is heard and judged.
   * @param patienceMs of whom it was counted for so long, it is told: whatever comes then is counted anew
   * @param nowMs Unix milliseconds; what lies before the last call adds nothing
   */
  look({ silent, begun }: Heard, patienceMs: number, nowMs: number): void {
    const passedMs = Math.min(Math.max(0, nowMs - (this.#lookedMs ?? nowMs)), MAX_STEP_MS);
    this.#lookedMs = nowMs;
    const before = this.#counts;
    const counts = new Map<string, Count>();
    const steadyMs = Math.min(STEADY_MS, patienceMs * STEADY_SHARE);
    for (const [id, { silentMs, judgedMs = 0 }] of before)
      if (silentMs < patienceMs && judgedMs + passedMs < steadyMs) counts.set(id, { silentMs, judgedMs: judgedMs + passedMs });
    for (const id of begun) counts.set(id, { silentMs: this.ms(id), judgedMs: undefined });
    for (const id of silent) counts.set(id, { silentMs: before.has(id) ? this.ms(id) + passedMs : 0, judgedMs: undefined });
    this.#counts = counts;
  }

  /** Milliseconds; 0 of a node that is heard and judged, and has been for a while. */
  ms(nodeId: string): number {
    return this.#counts.get(nodeId)?.silentMs ?? 0;
  }
}
