/** Entry of the replaying thread: one layer at a time, fed by chunks, asked for one by one so that no more than a few wait. */
import { parentPort } from "node:worker_threads";
import type { Dialect, Unextractable } from "../../core/reference-value/dialect.ts";
import { LayerTree } from "../../core/reference-value/layer-tree.ts";
import { type LayerIdentity, replayBlob } from "../../core/reference-value/replay-blob.ts";

export type ToThread =
  /** Keep a tree, to be named as a lower layer. */
  | { readonly kind: "tree"; readonly id: number; readonly bytes: Uint8Array }
  | { readonly kind: "forget" }
  | { readonly kind: "start"; readonly layer: LayerIdentity; readonly dialect: Dialect; readonly lower: readonly number[] }
  | { readonly kind: "chunk"; readonly bytes: Uint8Array }
  | { readonly kind: "end" }
  /** The blob could not be read to its end: give the layer up. */
  | { readonly kind: "abort" };

export type FromThread =
  /** Ready for `count` more chunks. */
  | { readonly kind: "want"; readonly count: number }
  | { readonly kind: "tree"; readonly bytes: Uint8Array }
  | { readonly kind: "unextractable"; readonly why: Unextractable["unextractable"] }
  | { readonly kind: "aborted" }
  | { readonly kind: "failed"; readonly message: string };

class Aborted extends Error {}

/** Chunks as they come, until `end`. */
class Chunks implements AsyncIterable<Buffer> {
  readonly #queue: Buffer[] = [];
  #state: "open" | "ended" | "aborted" = "open";
  #wake: (() => void) | undefined;

  push(bytes: Uint8Array): void {
    this.#queue.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    this.#wake?.();
  }

  finish(state: "ended" | "aborted"): void {
    this.#state = state;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      if (this.#state === "aborted") throw new Aborted();
      const chunk = this.#queue.shift();
      if (chunk) {
        send({ kind: "want", count: 1 });
        yield chunk;
      } else if (this.#state === "ended") return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}

const trees = new Map<number, LayerTree>();
let chunks: Chunks | undefined;

function send(message: FromThread): void {
  parentPort?.postMessage(message);
}

async function replay({ layer, dialect, lower }: Extract<ToThread, { kind: "start" }>, blob: Chunks): Promise<void> {
  try {
    const found = await replayBlob(blob, layer, { dialect, lower: lower.map((id) => trees.get(id) as LayerTree) });
    if (found instanceof LayerTree) {
      // Its own copy, handed over without another.
      const bytes = new Uint8Array(found.serialize());
      parentPort?.postMessage({ kind: "tree", bytes } satisfies FromThread, [bytes.buffer]);
    } else send({ kind: "unextractable", why: found.unextractable });
  } catch (error) {
    send(error instanceof Aborted ? { kind: "aborted" } : { kind: "failed", message: error instanceof Error ? error.message : String(error) });
  }
}

parentPort?.on("message", (message: ToThread) => {
  switch (message.kind) {
    case "tree":
      trees.set(message.id, LayerTree.deserialize(message.bytes));
      break;
    case "forget":
      trees.clear();
      break;
    case "start":
      chunks = new Chunks();
      void replay(message, chunks);
      break;
    case "chunk":
      chunks?.push(message.bytes);
      break;
    case "end":
      chunks?.finish("ended");
      break;
    case "abort":
      chunks?.finish("aborted");
      break;
  }
});
