/** Enrolments between their two steps: bounded in number and in time, since anyone may begin one. Used once. */

export interface PendingLimits {
  /** Default 4,096. */
  readonly maxPending: number;
  /** For one node id. Default 8: a restarting agent may begin anew; a stranger who knows an EK cannot crowd the rest out. */
  readonly maxPendingPerNode: number;
}
export const DEFAULT_PENDING_LIMITS: PendingLimits = { maxPending: 4096, maxPendingPerNode: 8 };

export class PendingTable<T extends { readonly nodeId: string; readonly expiresAtMs: number }> {
  readonly #limits: PendingLimits;
  readonly #entries = new Map<string, T>();
  readonly #perNode = new Map<string, number>();

  constructor(limits: PendingLimits = DEFAULT_PENDING_LIMITS) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** @returns false when there is no room: the caller says "busy" */
  add(session: string, entry: T, nowMs: number): boolean {
    this.#dropExpired(nowMs);
    const ofNode = this.#perNode.get(entry.nodeId) ?? 0;
    if (this.#entries.size >= this.#limits.maxPending || ofNode >= this.#limits.maxPendingPerNode) return false;
    this.#entries.set(session, entry);
    this.#perNode.set(entry.nodeId, ofNode + 1);
    return true;
  }

  /** Takes an entry out, whether it is of use any more or not. `expired` where its time is over. */
  take(session: string, nowMs: number): T | "unknown" | "expired" {
    const entry = this.#entries.get(session);
    if (!entry) return "unknown";
    this.#remove(session, entry);
    return nowMs >= entry.expiresAtMs ? "expired" : entry;
  }

  #remove(session: string, entry: T): void {
    this.#entries.delete(session);
    const left = (this.#perNode.get(entry.nodeId) ?? 1) - 1;
    if (left > 0) this.#perNode.set(entry.nodeId, left);
    else this.#perNode.delete(entry.nodeId);
  }

  /** Entries live equally long: the oldest come first, so the first live one ends the search. */
  #dropExpired(nowMs: number): void {
    for (const [session, entry] of this.#entries) {
      if (nowMs < entry.expiresAtMs) return;
      this.#remove(session, entry);
    }
  }
}
