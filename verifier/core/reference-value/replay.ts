/** Replays the extraction of one layer tar in memory and yields the tree that the engine's layer directory must have. */
import { createHash } from "node:crypto";
import { MAX_PATH_BYTES } from "@hullmark/proto/codec";
import type { Dialect, Unextractable } from "./dialect.ts";
import { ContainerdExtractor } from "./extract-containerd.ts";
import { DockerExtractor } from "./extract-docker.ts";
import type { Extractor } from "./extractor.ts";
import { type Inode, recordOf } from "./inode.ts";
import { bytesOf } from "./latin1.ts";
import { type LayerLeaf, LayerTree, MAX_LAYER_ENTRIES } from "./layer-tree.ts";
import { Refusal } from "./refusal.ts";
import { TarError } from "./tar-error.ts";
import { TarReader } from "./tar-reader.ts";

/** Bounds of one replay; a layer beyond one is `unextractable` with code LIMIT. */
export interface ReplayLimits {
  /** Bytes of the uncompressed tar. */
  readonly maxTarBytes: number;
  /** Tar entries, global headers included. */
  readonly maxEntries: number;
  /** Names and inodes in the extracted layer: implied directories count. */
  readonly maxInodes: number;
  /** Zeros that sparse maps may expand to. */
  readonly maxSparseBytes: number;
  /** Names, link targets and extended headers of all entries together, and paths of the extracted tree together. */
  readonly maxMetadataBytes: number;
}

export const DEFAULT_REPLAY_LIMITS: ReplayLimits = {
  maxTarBytes: 64 * 2 ** 30,
  maxEntries: MAX_LAYER_ENTRIES,
  maxInodes: MAX_LAYER_ENTRIES,
  maxSparseBytes: 16 * 2 ** 30,
  maxMetadataBytes: 2 ** 30,
};

/** What a replay found: the tree or why there is none, and the SHA-256 of all tar bytes (the diff_id), trailing ones included. */
export interface ReplayResult {
  readonly reference: LayerTree | Unextractable;
  readonly diffId: string;
  /** Bytes of the tar. */
  readonly tarBytes: number;
}

export interface ReplayOptions {
  readonly dialect: Dialect;
  /** Trees of the layers below, bottom first, in the same dialect. Implied directories of containerd take their metadata from them. */
  readonly lower: readonly LayerTree[];
  readonly limits?: ReplayLimits;
}

/** One layer, fed by chunks of the uncompressed tar. Synchronous; content is hashed and dropped. */
export class LayerReplay {
  readonly #extractor: Extractor;
  readonly #reader: TarReader;
  readonly #limits: ReplayLimits;
  readonly #hash = createHash("sha256");
  #bytes = 0;
  #metadataBytes = 0;
  #failed: Unextractable | undefined;

  constructor(options: ReplayOptions) {
    this.#limits = options.limits ?? DEFAULT_REPLAY_LIMITS;
    this.#extractor = options.dialect === "docker" ? new DockerExtractor() : new ContainerdExtractor(options.lower);
    this.#reader = new TarReader((entry) => {
      this.#metadataBytes += entry.name.length + entry.linkname.length;
      for (const [key, value] of entry.pax) this.#metadataBytes += key.length + value.length;
      if (this.#metadataBytes > this.#limits.maxMetadataBytes) throw new Refusal("LIMIT", `over ${this.#limits.maxMetadataBytes} bytes of names and headers`);
      this.#extractor.apply(entry);
      if (this.#extractor.fs.inodes > this.#limits.maxInodes) throw new Refusal("LIMIT", `over ${this.#limits.maxInodes} inodes`);
    }, this.#limits);
  }

  /** True once a limit is passed: reading on would only cost. After other failures feeding on still completes the diff_id. */
  get overLimit(): boolean {
    return this.#failed?.unextractable.code === "LIMIT" || this.#bytes > this.#limits.maxTarBytes;
  }

  /** Consumes a chunk; it is not kept. */
  push(chunk: Buffer): void {
    this.#hash.update(chunk);
    this.#bytes += chunk.length;
    if (this.#failed) return;
    this.#attempt(() => {
      if (this.#bytes > this.#limits.maxTarBytes) throw new Refusal("LIMIT", `over ${this.#limits.maxTarBytes} bytes of tar`);
      this.#reader.push(chunk);
    });
  }

  /** The tar is over. Call once. */
  finish(): ReplayResult {
    let tree: LayerTree | undefined;
    if (!this.#failed) {
      this.#attempt(() => {
        this.#reader.end();
        this.#extractor.finish();
        tree = LayerTree.build(leavesOf(this.#extractor.fs.root, this.#limits.maxMetadataBytes));
      });
    }
    const reference = this.#failed ?? (tree as LayerTree);
    return { reference, diffId: `sha256:${this.#hash.digest("hex")}`, tarBytes: this.#bytes };
  }

  #attempt(step: () => void): void {
    try {
      step();
    } catch (error) {
      if (error instanceof Refusal) this.#failed = { unextractable: { code: error.code, reason: error.message } };
      else if (error instanceof TarError) this.#failed = { unextractable: { code: "BAD_TAR", reason: error.message } };
      else throw error;
    }
  }
}

/** Replays a whole uncompressed tar. */
export async function replayLayer(tar: AsyncIterable<Buffer> | Iterable<Buffer>, options: ReplayOptions): Promise<ReplayResult> {
  const replay = new LayerReplay(options);
  for await (const chunk of tar) replay.push(chunk);
  return replay.finish();
}

/** @throws Refusal LIMIT: symlinked parents let a short tar name paths far longer than its own bytes */
function leavesOf(root: Inode, maxPathBytes: number): LayerLeaf[] {
  const leaves: LayerLeaf[] = [];
  let pathBytes = 0;
  const records = new Map<Inode, Buffer>();
  const pending: { directory: Inode; prefix: string }[] = [{ directory: root, prefix: "" }];
  for (let at = pending.pop(); at; at = pending.pop()) {
    for (const [name, inode] of at.directory.children ?? []) {
      const path = at.prefix + name;
      pathBytes += path.length;
      if (path.length > MAX_PATH_BYTES || pathBytes > maxPathBytes) throw new Refusal("LIMIT", `paths over ${maxPathBytes} bytes`);
      let record = records.get(inode);
      if (!record) {
        record = recordOf(inode);
        records.set(inode, record);
      }
      leaves.push({ path: bytesOf(path), record, implied: inode.implied });
      if (inode.type === "d") pending.push({ directory: inode, prefix: `${path}/` });
    }
  }
  return leaves;
}
