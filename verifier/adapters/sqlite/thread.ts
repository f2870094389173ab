/** Entry of the store's threads. Messages are v8-serialised, so that bytes stay Buffers and only the viewed part of a buffer travels. */
import { deserialize, serialize } from "node:v8";
import { parentPort, workerData } from "node:worker_threads";
import { LogStoreError } from "../../ports/log-store.ts";
import { StoreError } from "../../ports/store.ts";
import { openForReading, openForWriting, reasonOf } from "./database.ts";
import { Reads, Writes } from "./tables.ts";

export interface ThreadOptions {
  readonly path: string;
  readonly mode: "read" | "write";
}

export interface ThreadRequest {
  readonly id: number;
  /** `table` is empty for a method of the tables object itself. */
  readonly table: string;
  readonly method: string;
  readonly args: readonly unknown[];
}

export interface ThreadError {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly index: number;
}

export type ThreadReply = { readonly id: number } & ({ readonly value: unknown } | { readonly error: ThreadError });

const CHECKPOINT_PAUSE_MS = 50;

function errorOf(error: unknown): ThreadError {
  if (error instanceof StoreError) return { name: "StoreError", code: error.code, message: error.message, index: error.index };
  if (error instanceof LogStoreError) return { name: "LogStoreError", code: error.code, message: error.message, index: -1 };
  return { name: "StoreError", code: "STORE_UNAVAILABLE", message: reasonOf(error), index: -1 };
}

function serve(): void {
  const port = parentPort;
  if (!port) throw new Error("not a worker thread");
  const { path, mode } = workerData as ThreadOptions;
  const connection = mode === "write" ? openForWriting(path) : openForReading(path);
  const tables = mode === "write" ? new Writes(connection, path) : new Reads(connection);
  let checkpointing: NodeJS.Timeout | undefined;
  const answer = (bytes: Uint8Array): ThreadReply => {
    const { id, table, method, args } = deserialize(bytes) as ThreadRequest;
    try {
      const target = (table === "" ? tables : tables[table as keyof Reads]) as unknown as Record<string, (...args: readonly unknown[]) => unknown>;
      return { id, value: target[method]?.(...args) };
    } catch (error) {
      return { id, error: errorOf(error) };
    }
  };
  port.on("message", (message: Uint8Array | "close") => {
    if (message === "close") {
      clearTimeout(checkpointing);
      connection.close();
      port.close();
      return;
    }
    port.postMessage(serialize(answer(message)));
    if (tables instanceof Writes)
      checkpointing ??= setTimeout(() => {
        checkpointing = undefined;
        tables.checkpoint();
      }, CHECKPOINT_PAUSE_MS);
  });
  port.postMessage(serialize({ id: 0, value: undefined }));
}

serve();
