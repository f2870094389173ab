/**
 * Enrolments between their two steps: bounded in number and in time, since anyone may begin one. Used once. Where there is no room the newest comes in and the
 * oldest of whoever holds the most goes: a stranger who knows a node's EK crowds out himself, as long as he has fewer addresses than a node has places.
 */

export interface PendingLimits {
  /** Default 4,096. */
  readonly maxPending: number;
  /** For one node id. Default 8. */
  readonly maxPendingPerNode: number;
}
export const DEFAULT_PENDING_LIMITS: PendingLimits = { maxPending: 4096, maxPendingPerNode: 8 };

export class PendingTable<T extends { readonly nodeId: string; readonly network: string; readonly expiresAtMs: number }> {
  readonly #limits: PendingLimits;
  /** The oldest come first. */
  readonly #entries = new Map<string, T>();
  readonly #perNode = new Map<string, Set<string>>();

  constructor(limits: PendingLimits = DEFAULT_PENDING_LIMITS) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.size;
  }

  add(session: string, entry: T, nowMs: number): void {
    this.#dropExpired(nowMs);
    const ofNode = this.#perNode.get(entry.nodeId);
    if (ofNode && ofNode.size >= this.#limits.maxPendingPerNode) this.#giveWay(ofNode, entry.network);
    else if (this.#entries.size >= this.#limits.maxPending) this.#giveWay(this.#entries.keys(), entry.network);
    this.#entries.set(session, entry);
    // What gave way may have been the node's last.
    const sessions = this.#perNode.get(entry.nodeId) ?? new Set();
    this.#perNode.set(entry.nodeId, sessions.add(session));
  }

  /** Takes an entry out, whether it is of use any more or not. `expired` where its time is over. */
  take(session: string, nowMs: number): T | "unknown" | "expired" {
    const entry = this.#entries.get(session);
    if (!entry) return "unknown";
    this.#remove(session, entry);
    return nowMs >= entry.expiresAtMs ? "expired" : entry;
  }

  /** Removes the oldest of the network that holds the most of these; the one that comes counts too, and of those that hold as many its own goes first. */
  #giveWay(sessions: Iterable<string>, newcomer: string): void {
    const networks = new Map<string, { readonly oldest: string; held: number }>();
    for (const session of sessions) {
      const { network } = this.#entries.get(session) as T;
      const known = networks.get(network);
      if (known) known.held++;
      else networks.set(network, { oldest: session, held: network === newcomer ? 2 : 1 });
    }
    let most = networks.get(newcomer);
    for (const each of networks.values()) if (!most || each.held > most.held) most = each;
    if (most) this.#remove(most.oldest, this.#entries.get(most.oldest) as T);
  }

  #remove(session: string, { nodeId }: T): void {
    this.#entries.delete(session);
    const sessions = this.#perNode.get(nodeId);
    sessions?.delete(session);
    if (sessions?.size === 0) this.#perNode.delete(nodeId);
  }

  /** Entries live equally long: the oldest come first, so the first live one ends the search. */
  #dropExpired(nowMs: number): void {
    for (const [session, entry] of this.#entries) {
      if (nowMs < entry.expiresAtMs) return;
      this.#remove(session, entry);
    }
  }
}
