/** Roots and proofs computed from tiles, as any tile-log client does. What the tiles say is believed only as far as the result is checked against a signed root. */
import { type LogReader, TILE_WIDTH } from "../../ports/log-store.ts";
import { completeRoot, splitHashes } from "./append.ts";
import { TransparencyError } from "./errors.ts";
import { assertCount, completeSubtrees, EMPTY_LOG_ROOT, foldSubtrees, type LeafRange, LOG_HASH_BYTES } from "./hash.ts";
import { consistencyProofRanges, inclusionProofRanges } from "./proof.ts";
import { leavesPerHash, tileWidth } from "./tile.ts";

const MAX_CACHED_TILES = 64;

/** Computes over the tiles of the log as it was at `size`. Keeps the last 64 tiles read. */
export class TileHashes {
  readonly #reader: LogReader;
  readonly size: number;
  readonly #cache = new Map<string, readonly Buffer[]>();

  constructor(reader: LogReader, size: number) {
    assertCount("tree size", size);
    this.#reader = reader;
    this.size = size;
  }

  /** RFC 6962 root of the first `size` entries (at most this log's size). */
  async root(size: number = this.size): Promise<Buffer> {
    if (size > this.size) throw new TransparencyError("OUT_OF_RANGE", `root of ${size} in a log of ${this.size}`);
    return size === 0 ? EMPTY_LOG_ROOT : await this.#range({ start: 0, length: size });
  }

  /** Proof that entry `index` is in the first `size` entries. */
  async inclusionProof(index: number, size: number = this.size): Promise<Buffer[]> {
    return await this.#ranges(inclusionProofRanges(index, size));
  }

  /** Proof that the first `oldSize` entries are a prefix of the first `newSize`. */
  async consistencyProof(oldSize: number, newSize: number = this.size): Promise<Buffer[]> {
    return await this.#ranges(consistencyProofRanges(oldSize, newSize));
  }

  async #ranges(ranges: readonly LeafRange[]): Promise<Buffer[]> {
    const hashes: Buffer[] = [];
    for (const range of ranges) hashes.push(await this.#range(range));
    return hashes;
  }

  async #range(range: LeafRange): Promise<Buffer> {
    const peaks: Buffer[] = [];
    for (const part of completeSubtrees(range)) peaks.push(await this.#complete(part));
    return foldSubtrees(peaks);
  }

  /** Root of a complete subtree: a power of two of hashes within one tile. */
  async #complete({ start, length }: LeafRange): Promise<Buffer> {
    let level = 0;
    while (leavesPerHash(level + 1) <= length) level++;
    const first = start / leavesPerHash(level);
    const count = length / leavesPerHash(level);
    const hashes = await this.#tile(level, Math.floor(first / TILE_WIDTH));
    const at = first % TILE_WIDTH;
    if (at + count > hashes.length) throw new TransparencyError("OUT_OF_RANGE", `leaves ${start}..${start + length - 1} in a log of ${this.size}`);
    return completeRoot(hashes.slice(at, at + count));
  }

  async #tile(level: number, index: number): Promise<readonly Buffer[]> {
    const key = `${level}/${index}`;
    const cached = this.#cache.get(key);
    if (cached) return cached;
    const width = tileWidth(level, index, this.size);
    const bytes = await this.#reader.readTile(level, index, width);
    if (!bytes || bytes.length < width * LOG_HASH_BYTES) throw new TransparencyError("MISSING", `tile ${key} of width ${width}`);
    const hashes = splitHashes(bytes, width);
    if (this.#cache.size >= MAX_CACHED_TILES) this.#cache.delete(this.#cache.keys().next().value as string);
    this.#cache.set(key, hashes);
    return hashes;
  }
}
