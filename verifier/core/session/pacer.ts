/**
 * When each node is asked for its next quote. Below its capacity the verifier asks everybody once an interval. Above it, it must leave somebody out,
 * and decides whom: nodes that are vouched for are asked first, the one that has waited longest before the others, and those that are not only when
 * nobody else is due. So as many nodes as the verifier can serve stay vouched for, and the others stay unknown, instead of all of them by turns.
 * Nothing is believed longer for it: a quote that was not asked for grows stale as any other.
 */

/** One node's stream, as far as asking it is concerned. */
export interface Paced {
  /** When it was last asked; -Infinity: not yet. */
  readonly askedMs: number;
  readonly intervalMs: number;
  /** Whether a quote of it holds at this time. */
  vouched(nowMs: number): boolean;
  /** Asks now. */
  challenge(): void;
}

export interface PacerOptions {
  /** Commits that wait for the storage. */
  readonly backlog: () => number;
  /** Share of the time since the last call in which the event loop was busy: 0..1. */
  readonly utilisation: () => number;
}

/** How often {@link Pacer.slice} wants to be called. */
export const SLICE_MS = 50;
/**
 * Lateness of an event loop that is busy all the time, and commits waiting, above which less is asked for; below half of it more.
 * A loop that comes late and is idle otherwise waits for a processor that others have: asking less would not make it earlier.
 */
const MAX_LATE_MS = 60;
const BUSY = 0.9;
const MAX_BACKLOG = 1024;
/** A slice that comes later than this tells no more than one that comes so late: the clock may have been set. */
const MAX_BELIEVED_LATE_MS = 5000;
/** However late everything is, so many are asked in a second. */
const MIN_PER_SECOND = 20;
/** So many are always asked where nothing is late; more as far as it has been seen to go well. */
const CALM_PER_SECOND = 200;
const MAX_GROWTH = 4;
const BACK_OFF = 0.7;
const BACK_OFF_PAUSE_MS = 500;
const RECOVER = 1.03;
/** That nodes were left out is said for so long after the last. */
const OVERLOAD_SHOWN_MS = 30_000;
/** Weight of the newest slice in what is averaged. */
const NEWEST = 0.2;

export class Pacer {
  readonly #backlog: () => number;
  readonly #utilisation: () => number;
  /** Each in the order of asking, with the time of it. */
  readonly #joined = new Map<Paced, number>();
  readonly #vouched = new Map<Paced, number>();
  readonly #others = new Map<Paced, number>();
  #perSecond = CALM_PER_SECOND;
  #allowance = 0;
  #lateMs = 0;
  #busy = 0;
  #askedPerSecond = 0;
  #lastSliceMs: number | undefined;
  #lastBackOffMs = Number.NEGATIVE_INFINITY;
  #leftOutMs = Number.NEGATIVE_INFINITY;
  #asked = 0;

  constructor({ backlog, utilisation }: PacerOptions) {
    this.#backlog = backlog;
    this.#utilisation = utilisation;
  }

  /** Whether nodes that were due were left out lately, because the verifier has no capacity for them. */
  overloaded(nowMs: number): boolean {
    return nowMs - this.#leftOutMs < OVERLOAD_SHOWN_MS && nowMs - this.#lastBackOffMs < OVERLOAD_SHOWN_MS;
  }

  /** Begins with a stream: it is asked at once, where there is capacity. */
  join(node: Paced, nowMs: number): void {
    if (this.#allowance < 1) this.#joined.set(node, Number.NEGATIVE_INFINITY);
    else this.#ask(node, nowMs);
  }

  /** A quote of it was found to hold. */
  answered(node: Paced, nowMs: number): void {
    if (this.#others.has(node)) this.#queue(node, nowMs);
  }

  leave(node: Paced): void {
    for (const queue of [this.#joined, this.#vouched, this.#others]) queue.delete(node);
  }

  /** Asks whoever is due and can be asked now. To be called every {@link SLICE_MS}. */
  slice(nowMs: number): void {
    const elapsedMs = this.#measure(nowMs);
    // What was not used is not saved up; what was asked beyond it is paid back.
    this.#allowance = Math.min(this.#allowance, 1) + (this.#perSecond * elapsedMs) / 1000;
    const served = this.#serve(this.#vouched, nowMs) && this.#serve(this.#joined, nowMs) && this.#serve(this.#others, nowMs);
    if (!served) this.#leftOutMs = nowMs;
    this.#askedPerSecond += NEWEST * ((this.#asked * 1000) / elapsedMs - this.#askedPerSecond);
    this.#asked = 0;
  }

  /** How late this slice is says how late everything is. @returns milliseconds since the slice before */
  #measure(nowMs: number): number {
    const sinceMs = nowMs - (this.#lastSliceMs ?? nowMs - SLICE_MS);
    this.#lastSliceMs = nowMs;
    const elapsedMs = sinceMs > 0 ? Math.min(sinceMs, MAX_BELIEVED_LATE_MS) : SLICE_MS;
    this.#lateMs += NEWEST * (Math.max(0, elapsedMs - SLICE_MS) - this.#lateMs);
    this.#busy += NEWEST * (this.#utilisation() - this.#busy);
    const backlog = this.#backlog();
    const lateMs = this.#busy > BUSY ? this.#lateMs : 0;
    if (lateMs > MAX_LATE_MS || backlog > MAX_BACKLOG) this.#backOff(nowMs);
    else if (lateMs < MAX_LATE_MS / 2 && backlog < MAX_BACKLOG / 2) this.#recover();
    return elapsedMs;
  }

  #backOff(nowMs: number): void {
    if (nowMs - this.#lastBackOffMs < BACK_OFF_PAUSE_MS) return;
    this.#lastBackOffMs = nowMs;
    this.#perSecond = Math.max(MIN_PER_SECOND, BACK_OFF * Math.min(this.#perSecond, this.#askedPerSecond));
  }

  #recover(): void {
    this.#perSecond = Math.min(this.#perSecond * RECOVER, Math.max(CALM_PER_SECOND, MAX_GROWTH * this.#askedPerSecond));
  }

  /** @returns false where the allowance ended before those that are due did */
  #serve(queue: Map<Paced, number>, nowMs: number): boolean {
    // Those that are asked go to the end: each is looked at once.
    let left = queue.size;
    for (const [node, queuedMs] of queue) {
      if (left-- === 0) break;
      const { askedMs } = node;
      // A time to come: the clock was set back since, and nothing that was asked before it counts any more.
      const due = Math.abs(nowMs - askedMs) >= node.intervalMs;
      // All behind it were asked later.
      if (!due && askedMs === queuedMs) break;
      // Asked for another reason meanwhile, or not vouched for any more: it belongs elsewhere.
      if (!due || (queue === this.#vouched && !node.vouched(nowMs))) this.#queue(node, nowMs);
      else if (this.#allowance < 1) return false;
      else this.#ask(node, nowMs);
    }
    return true;
  }

  #ask(node: Paced, nowMs: number): void {
    this.#allowance--;
    this.#asked++;
    node.challenge();
    this.#queue(node, nowMs);
  }

  #queue(node: Paced, nowMs: number): void {
    this.leave(node);
    (node.vouched(nowMs) ? this.#vouched : this.#others).set(node, node.askedMs);
  }
}
