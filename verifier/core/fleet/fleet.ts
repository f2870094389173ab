/** Every known node, in memory: what guards and timers must answer at once. The store holds the same, durably. */
import type { NodeRow, QuoteRow } from "../../ports/rows.ts";

export class Fleet {
  readonly #nodes: Map<string, NodeRow>;
  readonly #connected = new Set<string>();

  constructor(rows: readonly NodeRow[]) {
    this.#nodes = new Map(rows.map((row) => [row.id, row]));
  }

  get(id: string): NodeRow | undefined {
    return this.#nodes.get(id);
  }

  /** By id, or by name where exactly one node has it, or one alone of those that were not revoked. */
  find(idOrName: string): NodeRow | undefined {
    const exact = this.#nodes.get(idOrName);
    if (exact && exact.removedAtMs === undefined) return exact;
    const named = this.all().filter(({ name }) => name === idOrName);
    const present = named.filter(({ revokedAtMs }) => revokedAtMs === undefined);
    return named.length === 1 ? named[0] : present.length === 1 ? present[0] : undefined;
  }

  /** Without those that were removed. */
  all(): NodeRow[] {
    return this.known().filter(({ removedAtMs }) => removedAtMs === undefined);
  }

  /** Those that were removed, too: they are kept out by it. */
  known(): NodeRow[] {
    return [...this.#nodes.values()];
  }

  /** Rows may come late, from the disk: the newest sign of life stays. */
  set(row: NodeRow): void {
    const seen = Math.max(row.lastSeenMs ?? 0, this.#nodes.get(row.id)?.lastSeenMs ?? 0);
    this.#nodes.set(row.id, seen > (row.lastSeenMs ?? 0) ? { ...row, lastSeenMs: seen } : row);
  }

  /** A sign of life, which is not durable by itself. */
  seen(nodeId: string, lastSeenMs: number | undefined): void {
    const row = this.#nodes.get(nodeId);
    if (row && lastSeenMs !== undefined) this.set({ ...row, lastSeenMs: Math.max(lastSeenMs, row.lastSeenMs ?? 0) });
  }

  quoted({ nodeId, lastQuoteMs, clock }: QuoteRow): void {
    const row = this.#nodes.get(nodeId);
    if (row) this.#nodes.set(nodeId, { ...row, lastQuoteMs, clock });
  }

  connected(id: string): boolean {
    return this.#connected.has(id);
  }

  setConnected(id: string, connected: boolean): void {
    if (connected) this.#connected.add(id);
    else this.#connected.delete(id);
  }
}
