/**
 * How long each node has lacked something (a word that can be judged, the proof of its boot), counted only while this verifier was there to hear it: what it slept
 * through, or was stopped for, is no lack of theirs.
 */

/** One step counts for no more: the process was stopped, the machine slept, or the clock was set on. */
const MAX_STEP_MS = 5_000;
/** A node that lacks nothing for so long, or a fifth of the patience, is well: one that is well for moments, as where an agent ends as often as it starts, is not. */
const STEADY_MS = 60_000;
const STEADY_SHARE = 1 / 5;

export interface Seen {
  /** Ids of nodes that lack it now. */
  readonly lacking: Iterable<string>;
  /** Of those of which it cannot be told: what was counted of them stands. */
  readonly open: Iterable<string>;
}

interface Count {
  readonly lackedMs: number;
  /** Since it lacks nothing again; undefined: it does. */
  readonly wellMs: number | undefined;
}

export class Lack {
  #counts: ReadonlyMap<string, Count> = new Map();
  #lookedMs: number | undefined;

  /**
   * To be called each second. Whoever is not named lacks nothing.
   * @param patienceMs of whom it was counted for so long, it is told: whatever comes then is counted anew
   * @param nowMs Unix milliseconds; what lies before the last call adds nothing
   */
  look({ lacking, open }: Seen, patienceMs: number, nowMs: number): void {
    const passedMs = Math.min(Math.max(0, nowMs - (this.#lookedMs ?? nowMs)), MAX_STEP_MS);
    this.#lookedMs = nowMs;
    const before = this.#counts;
    const counts = new Map<string, Count>();
    const steadyMs = Math.min(STEADY_MS, patienceMs * STEADY_SHARE);
    for (const [id, { lackedMs, wellMs = 0 }] of before)
      if (lackedMs < patienceMs && wellMs + passedMs < steadyMs) counts.set(id, { lackedMs, wellMs: wellMs + passedMs });
    for (const id of open) counts.set(id, { lackedMs: this.ms(id), wellMs: undefined });
    for (const id of lacking) counts.set(id, { lackedMs: before.has(id) ? this.ms(id) + passedMs : 0, wellMs: undefined });
    this.#counts = counts;
  }

  /** Milliseconds; 0 of a node that lacks nothing, and has not for a while. */
  ms(nodeId: string): number {
    return this.#counts.get(nodeId)?.lackedMs ?? 0;
  }
}
