/** Layer replay in a thread of its own: hashing gigabytes must not delay an attestation. */
import { Worker } from "node:worker_threads";
import type { Dialect } from "../../core/reference-value/dialect.ts";
import { LayerTree } from "../../core/reference-value/layer-tree.ts";
import type { LayerIdentity } from "../../core/reference-value/replay-blob.ts";
import type { LayerReplayer } from "../../ports/layer-replayer.ts";
import type { Reference } from "../../ports/reference-store.ts";
import type { FromThread, ToThread } from "./thread.ts";

/** Chunks on their way to the thread: some 64 KiB each. */
const MAX_CHUNKS_AHEAD = 32;
/** Trees that the thread keeps for use as lower layers. */
const MAX_KEPT_TREES = 128;
const THREAD_URL = new URL(import.meta.url.endsWith(".ts") ? "./thread.ts" : "./replay-thread.js", import.meta.url);

export class ReplayThread implements LayerReplayer {
  #worker: Worker | undefined;
  /** Trees that the thread has, by the number it knows them by. */
  #kept = new Map<LayerTree, number>();
  #nextId = 1;
  #turn: Promise<unknown> = Promise.resolve();
  #onMessage: ((message: FromThread | Error) => void) | undefined;

  /** One layer at a time; others wait for their turn. */
  replay(
    blob: AsyncIterable<Buffer>,
    layer: LayerIdentity,
    options: { dialect: Dialect; lower: readonly LayerTree[] },
    signal: AbortSignal,
  ): Promise<Reference> {
    const work = this.#turn.then(() => this.#replay(blob, layer, options, signal));
    this.#turn = work.catch(() => undefined);
    return work;
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
    this.#worker = undefined;
  }

  async #replay(
    blob: AsyncIterable<Buffer>,
    layer: LayerIdentity,
    { dialect, lower }: { dialect: Dialect; lower: readonly LayerTree[] },
    signal: AbortSignal,
  ): Promise<Reference> {
    signal.throwIfAborted();
    this.#worker ??= this.#start();
    const worker = this.#worker;
    const ids = dialect === "containerd" ? this.#keep(worker, lower) : [];
    let room = MAX_CHUNKS_AHEAD;
    let wake: (() => void) | undefined;
    let over = false;
    const outcome = new Promise<Reference | "aborted">((resolve, reject) => {
      this.#onMessage = (message) => {
        if (!(message instanceof Error) && message.kind === "want") room += message.count;
        else {
          over = true;
          if (message instanceof Error) reject(message);
          else if (message.kind === "tree") resolve(LayerTree.deserialize(message.bytes));
          else if (message.kind === "unextractable") resolve({ unextractable: message.why });
          else if (message.kind === "failed") reject(new Error(`replay failed: ${message.message}`));
          else resolve("aborted");
        }
        wake?.();
      };
    });
    outcome.catch(() => undefined);
    post(worker, { kind: "start", layer, dialect, lower: ids });
    try {
      for await (const chunk of blob) {
        signal.throwIfAborted();
        while (room === 0 && !over)
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        // Refused before its end: the thread has seen all it needs.
        if (over) break;
        room--;
        post(worker, { kind: "chunk", bytes: Uint8Array.from(chunk) });
      }
      post(worker, { kind: "end" });
    } catch (error) {
      post(worker, { kind: "abort" });
      await outcome.catch(() => undefined);
      throw error;
    }
    const reference = await outcome;
    if (reference === "aborted") throw new Error("replay was given up");
    return reference;
  }

  #start(): Worker {
    const worker = new Worker(THREAD_URL);
    const gone = (error: Error): void => {
      if (this.#worker === worker) this.#worker = undefined;
      this.#kept = new Map();
      this.#onMessage?.(error);
    };
    worker.on("message", (message: FromThread) => this.#onMessage?.(message));
    worker.on("error", (error) => gone(error instanceof Error ? error : new Error(String(error))));
    worker.on("exit", () => gone(new Error("the replaying thread has ended")));
    worker.unref();
    return worker;
  }

  #keep(worker: Worker, lower: readonly LayerTree[]): number[] {
    if (this.#kept.size + lower.length > MAX_KEPT_TREES) {
      post(worker, { kind: "forget" });
      this.#kept.clear();
    }
    return lower.map((tree) => {
      const known = this.#kept.get(tree);
      if (known !== undefined) return known;
      const id = this.#nextId++;
      post(worker, { kind: "tree", id, bytes: Uint8Array.from(tree.serialize()) });
      this.#kept.set(tree, id);
      return id;
    });
  }
}

function post(worker: Worker, message: ToThread): void {
  worker.postMessage(message, "bytes" in message ? [message.bytes.buffer as ArrayBuffer] : []);
}
