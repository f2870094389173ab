/** Opens the database file: owner-only, write-ahead log, every commit synced to disk. Blocking: belongs in a worker thread. */
import { chmodSync, closeSync, openSync } from "node:fs";
import Database from "better-sqlite3";
import { StoreError } from "../../ports/store.ts";
import { MIGRATIONS } from "./migrations.ts";

/** Moved into the database where it has grown beyond this. */
export const MAX_WAL_BYTES = 8 * 1024 * 1024;

export type Connection = Database.Database;
export type Statement = Database.Statement;

/** @throws StoreError STORE_NEWER where the file was written by a later version, STORE_UNAVAILABLE where it cannot be opened */
export function openForWriting(path: string): Connection {
  try {
    // SQLite gives its -wal and -shm files the mode of the database file.
    closeSync(openSync(path, "a", 0o600));
    chmodSync(path, 0o600);
    const connection = new Database(path);
    connection.pragma("journal_mode = WAL");
    connection.pragma("synchronous = FULL");
    connection.pragma("temp_store = MEMORY");
    connection.pragma("cache_size = -32768");
    connection.pragma("busy_timeout = 5000");
    // Checkpoints run when there is time for them (Writer), not inside somebody's commit.
    connection.pragma("wal_autocheckpoint = 0");
    // Without a limit the file stays as large as it ever was, and its size says no more how much of it is to be moved.
    connection.pragma(`journal_size_limit = ${MAX_WAL_BYTES}`);
    migrate(connection);
    return connection;
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw new StoreError("STORE_UNAVAILABLE", `cannot open the database: ${reasonOf(error)}`, { cause: error });
  }
}

export function openForReading(path: string): Connection {
  const connection = new Database(path, { readonly: true, fileMustExist: true });
  connection.pragma("busy_timeout = 5000");
  connection.pragma("cache_size = -16384");
  return connection;
}

function migrate(connection: Connection): void {
  const version = connection.pragma("user_version", { simple: true }) as number;
  if (version > MIGRATIONS.length)
    throw new StoreError("STORE_NEWER", `schema ${version}, this version knows ${MIGRATIONS.length}: run the newer verifier, or restore a backup`);
  for (const [step, sql] of MIGRATIONS.entries()) {
    if (step < version) continue;
    connection.transaction(() => {
      connection.exec(sql);
      connection.pragma(`user_version = ${step + 1}`);
    })();
  }
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
