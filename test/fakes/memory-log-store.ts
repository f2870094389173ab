/** A log store in memory that keeps its promises, and can be told to break: what fault tests need. */
import { type LogAppend, type LogStore, LogStoreError, type StoredCheckpoint, TILE_WIDTH } from "@hullmark/verifier/ports/log-store";

/** `failed`: throws and nothing was written. `failed-but-persisted`: throws although it was written. */
export type AppendFault = "failed" | "failed-but-persisted";

export class MemoryLogStore implements LogStore {
  readonly entries: Uint8Array[] = [];
  readonly tiles = new Map<string, Uint8Array>();
  checkpoint: StoredCheckpoint | undefined;
  /** Taken by the next append. */
  nextFault: AppendFault | undefined;

  async readSize(): Promise<number> {
    return this.entries.length;
  }

  async readTile(level: number, index: number): Promise<Uint8Array | undefined> {
    return this.tiles.get(`${level}/${index}`);
  }

  async readEntries(first: number, count: number): Promise<readonly Uint8Array[]> {
    return this.entries.slice(first, Math.min(first + count, (Math.floor(first / TILE_WIDTH) + 1) * TILE_WIDTH));
  }

  async readCheckpoint(): Promise<StoredCheckpoint | undefined> {
    return this.checkpoint;
  }

  async append(append: LogAppend): Promise<void> {
    const fault = this.nextFault;
    this.nextFault = undefined;
    if (append.firstIndex !== this.entries.length) throw new LogStoreError("LOG_CONFLICT", `append at ${append.firstIndex}, size ${this.entries.length}`);
    if (fault === "failed") throw new LogStoreError("LOG_UNAVAILABLE", "planted fault");
    for (const entry of append.entries) this.entries.push(Uint8Array.from(entry));
    for (const { level, index, hashes } of append.tiles) this.tiles.set(`${level}/${index}`, Uint8Array.from(hashes));
    if (fault === "failed-but-persisted") throw new LogStoreError("LOG_UNAVAILABLE", "planted fault after writing");
  }

  async writeCheckpoint(checkpoint: StoredCheckpoint): Promise<void> {
    if (this.checkpoint === undefined || checkpoint.size > this.checkpoint.size) this.checkpoint = checkpoint;
  }
}
