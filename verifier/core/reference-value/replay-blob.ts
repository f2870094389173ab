/** From a registry's compressed layer blob to the reference of the extracted layer, with every digest checked on the way. */
import { createHash } from "node:crypto";
import type { Reference } from "../../ports/reference-store.ts";
import { decompress } from "./decompress.ts";
import type { UnextractableCode } from "./dialect.ts";
import { Refusal } from "./refusal.ts";
import { LayerReplay, type ReplayOptions } from "./replay.ts";

/** What signed objects say of a layer. */
export interface LayerIdentity {
  /** Of the blob, from the manifest: `sha256:` and 64 hex digits. */
  readonly digest: string;
  /** Bytes of the blob, from the manifest. */
  readonly size: number;
  /** Of the uncompressed tar, from the config. */
  readonly diffId: string;
}

/**
 * Replays a blob as it streams in. Nothing is kept but the tree.
 * A result with code BLOB_MISMATCH says something of the registry, not of the layer: never store it.
 * Errors of `blob` (network, abort) pass through: the layer could not be judged.
 */
export async function replayBlob(blob: AsyncIterable<Buffer>, layer: LayerIdentity, options: ReplayOptions, signal?: AbortSignal): Promise<Reference> {
  const meter = new BlobMeter(blob, layer, signal);
  const replay = new LayerReplay(options);
  try {
    for await (const chunk of decompress(meter.read())) {
      replay.push(chunk);
      if (replay.overLimit) break;
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    // A damaged stream counts as the layer's own only if these are the bytes that the manifest names.
    return error.code === "BLOB_MISMATCH" ? refuse(error.code, error.message) : ((await meter.drain()) ?? refuse(error.code, error.message));
  }
  const mismatch = await meter.drain();
  if (mismatch) return mismatch;
  const { reference, diffId } = replay.finish();
  if (replay.overLimit) return reference;
  if (diffId !== layer.diffId) return refuse("DIFF_ID_MISMATCH", `diff_id ${diffId}, config says ${layer.diffId}`);
  return reference;
}

/** Hashes and counts a blob while it is read. */
class BlobMeter {
  readonly #source: AsyncIterator<Buffer>;
  readonly #layer: LayerIdentity;
  readonly #signal: AbortSignal | undefined;
  readonly #hash = createHash("sha256");
  #bytes = 0;

  constructor(blob: AsyncIterable<Buffer>, layer: LayerIdentity, signal: AbortSignal | undefined) {
    this.#source = blob[Symbol.asyncIterator]();
    this.#layer = layer;
    this.#signal = signal;
  }

  /** The chunks. Breaking off leaves the rest to {@link drain}. @throws Refusal BLOB_MISMATCH as soon as there are too many bytes */
  async *read(): AsyncGenerator<Buffer> {
    for (let chunk = await this.#next(); chunk; chunk = await this.#next()) yield chunk;
  }

  /** Reads what is left. @returns the mismatch, or undefined where size and digest are as declared */
  async drain(): Promise<Reference | undefined> {
    try {
      while (await this.#next());
    } catch (error) {
      if (error instanceof Refusal) return refuse(error.code, error.message);
      throw error;
    }
    const digest = `sha256:${this.#hash.digest("hex")}`;
    if (this.#bytes === this.#layer.size && digest === this.#layer.digest) return undefined;
    return refuse("BLOB_MISMATCH", `blob of ${this.#bytes} bytes with ${digest}, manifest says ${this.#layer.size} bytes with ${this.#layer.digest}`);
  }

  async #next(): Promise<Buffer | undefined> {
    this.#signal?.throwIfAborted();
    const next = await this.#source.next();
    if (next.done) return undefined;
    this.#bytes += next.value.length;
    if (this.#bytes > this.#layer.size) {
      await this.#source.return?.();
      throw new Refusal("BLOB_MISMATCH", `blob longer than its ${this.#layer.size} bytes`);
    }
    this.#hash.update(next.value);
    return next.value;
  }
}

function refuse(code: UnextractableCode, reason: string): Reference {
  return { unextractable: { code, reason } };
}
