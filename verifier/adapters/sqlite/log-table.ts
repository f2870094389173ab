/** The transparency log's tables. Synchronous; runs in the store's threads. */
import { type LogAppend, LogStoreError, type StoredCheckpoint } from "../../ports/log-store.ts";
import type { Connection } from "./database.ts";

export class LogTable {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  size(): number {
    return this.#connection.prepare<[], { size: number }>("SELECT coalesce(max(position) + 1, 0) AS size FROM log_entries").get()?.size ?? 0;
  }

  /** Within the caller's transaction. @throws LogStoreError LOG_CONFLICT */
  append({ firstIndex, entries, tiles }: LogAppend): void {
    const size = this.size();
    if (size !== firstIndex) throw new LogStoreError("LOG_CONFLICT", `append at ${firstIndex}, the log has ${size} entries`);
    const insertEntry = this.#connection.prepare("INSERT INTO log_entries (position, entry) VALUES (?, ?)");
    for (const [i, entry] of entries.entries()) insertEntry.run(firstIndex + i, entry);
    const putTile = this.#connection.prepare("INSERT OR REPLACE INTO log_tiles (level, position, hashes) VALUES (?, ?, ?)");
    for (const { level, index, hashes } of tiles) putTile.run(level, index, hashes);
  }

  readTile(level: number, index: number): Buffer | undefined {
    return this.#connection.prepare<[number, number], { hashes: Buffer }>("SELECT hashes FROM log_tiles WHERE level = ? AND position = ?").get(level, index)
      ?.hashes;
  }

  readEntries(first: number, count: number): Buffer[] {
    const select = this.#connection.prepare<[number, number], { entry: Buffer }>(
      "SELECT entry FROM log_entries WHERE position >= ? AND position < ? ORDER BY position",
    );
    return select.all(first, first + count).map(({ entry }) => entry);
  }

  readCheckpoint(): StoredCheckpoint | undefined {
    return this.#connection.prepare<[], StoredCheckpoint>("SELECT size, note FROM log_checkpoint").get();
  }

  writeCheckpoint({ size, note }: StoredCheckpoint): void {
    this.#connection
      .prepare(
        "INSERT INTO log_checkpoint (one, size, note) VALUES (1, ?, ?) ON CONFLICT (one) DO UPDATE SET size = excluded.size, note = excluded.note WHERE excluded.size > size",
      )
      .run(size, note);
  }
}
