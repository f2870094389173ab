/** Calls into one of the store's threads. Calls are served in order; a thread that dies fails every call, now and later. */
import { deserialize, serialize } from "node:v8";
import { Worker } from "node:worker_threads";
import { LogStoreError, type LogStoreErrorCode } from "../../ports/log-store.ts";
import { StoreError, type StoreErrorCode } from "../../ports/store.ts";
import type { ThreadError, ThreadOptions, ThreadReply } from "./thread.ts";

interface Waiting {
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

/** Beside this file: as source, or as the bundle's own entry. */
const THREAD_URL = new URL(import.meta.url.endsWith(".ts") ? "./thread.ts" : "./sqlite-thread.js", import.meta.url);

export class ThreadClient {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  readonly #exited: Promise<void>;
  #nextId = 1;
  #dead: StoreError | undefined;

  private constructor(worker: Worker, onStart: Waiting) {
    this.#worker = worker;
    this.#waiting.set(0, onStart);
    worker.on("message", (bytes: Uint8Array) => this.#settle(deserialize(bytes) as ThreadReply));
    worker.on("error", (error) => this.#die(storeErrorOf(error)));
    this.#exited = new Promise((resolve) =>
      worker.on("exit", () => {
        this.#die(new StoreError("STORE_CLOSED", "the store is closed"));
        resolve();
      }),
    );
  }

  /** Resolves when the database is open. @throws StoreError */
  static async open(options: ThreadOptions): Promise<ThreadClient> {
    return await new Promise((resolve, reject) => {
      const client: ThreadClient = new ThreadClient(new Worker(THREAD_URL, { workerData: options }), { resolve: () => resolve(client), reject });
    });
  }

  call<T>(table: string, method: string, ...args: readonly unknown[]): Promise<T> {
    if (this.#dead) return Promise.reject(this.#dead);
    const id = this.#nextId++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: never) => void, reject });
      this.#worker.postMessage(serialize({ id, table, method, args }));
    });
  }

  /** What was asked before is still done; then the database is closed. */
  async close(): Promise<void> {
    this.#worker.postMessage("close");
    await this.#exited;
  }

  #settle(reply: ThreadReply): void {
    const waiting = this.#waiting.get(reply.id);
    this.#waiting.delete(reply.id);
    if ("error" in reply) waiting?.reject(revive(reply.error));
    else waiting?.resolve(reply.value as never);
  }

  #die(error: StoreError): void {
    this.#dead ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#dead);
    this.#waiting.clear();
  }
}

function revive({ name, code, message, index }: ThreadError): Error {
  const text = message.startsWith(`${code}: `) ? message.slice(code.length + 2) : message;
  return name === "LogStoreError" ? new LogStoreError(code as LogStoreErrorCode, text) : new StoreError(code as StoreErrorCode, text, { index });
}

/** An error that ended the thread: it crossed as a plain Error. */
function storeErrorOf(error: unknown): StoreError {
  const text = error instanceof Error ? error.message : String(error);
  const [, code, rest] = /^(STORE_[A-Z]+): (.*)$/s.exec(text) ?? [];
  return new StoreError((code as StoreErrorCode | undefined) ?? "STORE_UNAVAILABLE", rest ?? text, { cause: error });
}
