/**
 * The expected records of one image layer as an engine extracts it, under the canonical Patricia tree.
 * Compact: entries lie in key order in a few flat buffers, so a branch of the trie is a range of them and needs no objects.
 */
import {
  ByteReader,
  ByteWriter,
  CodecError,
  commonBits,
  EMPTY_ROOT,
  HASH_BYTES,
  leafHash,
  MAX_PATH_BYTES,
  nodeHash,
  pathKey,
  recordDigest,
  type TreePosition,
} from "@hullmark/proto/codec";

/** Most entries that a layer may hold. */
export const MAX_LAYER_ENTRIES = 2_000_000;
/** Longest encoded record: a few ACLs and a capability at their limits stay far below it. */
export const MAX_RECORD_BYTES = 1 << 20;

const FORMAT_VERSION = 1;
const FLAG_IMPLIED = 1;

/** One name in a layer. Buffers are views into the tree: do not change them. */
export interface LayerEntry {
  /** Raw bytes, canonical (see `assertPath`). */
  readonly path: Buffer;
  /** `encodeRecord` of the entry. */
  readonly record: Buffer;
  /** SHA-256 of `record`. */
  readonly digest: Buffer;
  /** A directory that no tar entry names: the engine made it for something below. */
  readonly implied: boolean;
}

/** {@link TreePosition}, where a leaf also tells its path and record. */
export type LayerPosition = Exclude<TreePosition, { kind: "leaf" }> | (Extract<TreePosition, { kind: "leaf" }> & LayerEntry);

/** What {@link LayerTree.build} takes: one path, its encoded record and whether it is implied. */
export interface LayerLeaf {
  readonly path: Buffer;
  readonly record: Buffer;
  readonly implied: boolean;
}

interface Parts {
  readonly keys: Buffer;
  readonly digests: Buffer;
  readonly leaves: readonly LayerLeaf[];
}

/** Immutable. Safe to share; structured clone loses the class, so send {@link serialize} between threads. */
export class LayerTree {
  /** Number of entries. */
  readonly size: number;
  readonly #keys: Buffer;
  readonly #digests: Buffer;
  readonly #leaves: readonly LayerLeaf[];
  /** Hash of the branch that divides its range at entry m, at m × 32; computed when first asked for. */
  #branches: Buffer | undefined;
  #root: Buffer | undefined;

  private constructor(parts: Parts) {
    this.size = parts.leaves.length;
    this.#keys = parts.keys;
    this.#digests = parts.digests;
    this.#leaves = parts.leaves;
  }

  /** @throws CodecError BAD_ORDER on two entries of one path, TOO_LONG on more than {@link MAX_LAYER_ENTRIES} */
  static build(leaves: readonly LayerLeaf[]): LayerTree {
    if (leaves.length > MAX_LAYER_ENTRIES) throw new CodecError("TOO_LONG", `${leaves.length} entries, limit ${MAX_LAYER_ENTRIES}`);
    const keyed = leaves.map((leaf) => ({ leaf, key: pathKey(leaf.path) }));
    keyed.sort((a, b) => Buffer.compare(a.key, b.key));
    return LayerTree.#ofSorted(
      keyed.map((each) => each.key),
      keyed.map((each) => each.leaf),
    );
  }

  static #ofSorted(sorted: readonly Buffer[], leaves: readonly LayerLeaf[]): LayerTree {
    const keys = Buffer.allocUnsafe(leaves.length * HASH_BYTES);
    const digests = Buffer.allocUnsafe(leaves.length * HASH_BYTES);
    for (const [i, leaf] of leaves.entries()) {
      const key = sorted[i] as Buffer;
      if (i > 0 && Buffer.compare(sorted[i - 1] as Buffer, key) >= 0) throw new CodecError("BAD_ORDER", "layer entries out of order or twice");
      keys.set(key, i * HASH_BYTES);
      digests.set(recordDigest(leaf.record), i * HASH_BYTES);
    }
    return new LayerTree({ keys, digests, leaves });
  }

  /** Root of the canonical tree: what an agent reports of the extracted layer. */
  get root(): Buffer {
    this.#root ??= this.size === 0 ? EMPTY_ROOT : this.#rangeHash(0, this.size);
    return this.#root;
  }

  /** The entry of a path, or undefined. */
  get(path: Uint8Array): LayerEntry | undefined {
    return this.getByKey(pathKey(path));
  }

  /** The entry whose path has this key (SHA-256), or undefined. */
  getByKey(key: Uint8Array): LayerEntry | undefined {
    const at = this.#lowerBound(key);
    return at < this.size && Buffer.compare(this.#key(at), key) === 0 ? this.#entry(at) : undefined;
  }

  /** As `PatriciaTree.descend`: the topmost position whose keys all start with the first `bits` bits of `key` (0..256). */
  descend(key: Uint8Array, bits: number): LayerPosition {
    let lo = 0;
    let hi = this.size;
    while (hi - lo > 1 && commonBits(this.#key(lo), this.#key(hi - 1)) < bits) {
      const split = commonBits(this.#key(lo), this.#key(hi - 1));
      const middle = this.#split(lo, hi, split);
      if (((key[split >> 3] ?? 0) >> (7 - (split & 7))) & 1) lo = middle;
      else hi = middle;
    }
    if (lo === hi || commonBits(this.#key(lo), key) < bits) return { kind: "empty" };
    if (hi - lo === 1) return { kind: "leaf", key: this.#key(lo), hash: this.#rangeHash(lo, hi), ...this.#entry(lo) };
    const bitlen = commonBits(this.#key(lo), this.#key(hi - 1));
    const middle = this.#split(lo, hi, bitlen);
    const prefix = Buffer.from(this.#key(lo).subarray(0, (bitlen + 7) >> 3));
    const spare = prefix.length * 8 - bitlen;
    if (spare > 0) prefix[prefix.length - 1] = (prefix.at(-1) ?? 0) & (0xff << spare);
    return { kind: "node", bitlen, prefix, hash: this.#rangeHash(lo, hi), left: this.#rangeHash(lo, middle), right: this.#rangeHash(middle, hi) };
  }

  /** All entries in key order (which is no order of names). */
  *entries(): Generator<LayerEntry> {
    for (let i = 0; i < this.size; i++) yield this.#entry(i);
  }

  /** One buffer: version, count, then flags, path and record of each entry in key order. */
  serialize(): Buffer {
    const writer = new ByteWriter(64 + this.size * 128);
    writer.u8(FORMAT_VERSION).u32(this.size);
    for (const leaf of this.#leaves) {
      writer
        .u8(leaf.implied ? FLAG_IMPLIED : 0)
        .bytes(leaf.path)
        .bytes(leaf.record);
    }
    return writer.finish();
  }

  /** Reads {@link serialize}. Keys and digests are computed again, so `root` speaks for these bytes. Views into `bytes` are kept. @throws CodecError */
  static deserialize(bytes: Uint8Array): LayerTree {
    const reader = new ByteReader(bytes);
    const version = reader.u8();
    if (version !== FORMAT_VERSION) throw new CodecError("BAD_VERSION", `layer tree version ${version}, want ${FORMAT_VERSION}`);
    const count = reader.u32();
    if (count > MAX_LAYER_ENTRIES || count * 9 > bytes.length) throw new CodecError("TOO_LONG", `${count} entries in ${bytes.length} bytes`);
    const keys: Buffer[] = [];
    const leaves: LayerLeaf[] = [];
    for (let i = 0; i < count; i++) {
      const flags = reader.u8();
      if (flags > FLAG_IMPLIED) throw new CodecError("OUT_OF_RANGE", `entry flags ${flags}`);
      const path = reader.bytes(MAX_PATH_BYTES);
      leaves.push({ path, record: reader.bytes(MAX_RECORD_BYTES), implied: flags === FLAG_IMPLIED });
      keys.push(pathKey(path));
    }
    reader.end();
    return LayerTree.#ofSorted(keys, leaves);
  }

  #key(at: number): Buffer {
    return this.#keys.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES);
  }

  #entry(at: number): LayerEntry {
    const leaf = this.#leaves[at] as LayerLeaf;
    return { path: leaf.path, record: leaf.record, implied: leaf.implied, digest: this.#digests.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES) };
  }

  #lowerBound(key: Uint8Array): number {
    let lo = 0;
    let hi = this.size;
    while (lo < hi) {
      const middle = (lo + hi) >>> 1;
      if (Buffer.compare(this.#key(middle), key) < 0) lo = middle + 1;
      else hi = middle;
    }
    return lo;
  }

  /** First entry of a range whose bit `bit` is 1; the range shares all bits before. */
  #split(from: number, to: number, bit: number): number {
    let lo = from;
    let hi = to;
    while (lo < hi) {
      const middle = (lo + hi) >>> 1;
      if (((this.#keys[middle * HASH_BYTES + (bit >> 3)] ?? 0) >> (7 - (bit & 7))) & 1) hi = middle;
      else lo = middle + 1;
    }
    return lo;
  }

  #rangeHash(lo: number, hi: number): Buffer {
    this.#branches ??= this.#hashBranches();
    if (hi - lo === 1) return leafHash(this.#key(lo), this.#digests.subarray(lo * HASH_BYTES, hi * HASH_BYTES));
    const at = this.#split(lo, hi, commonBits(this.#key(lo), this.#key(hi - 1)));
    return this.#branches.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES);
  }

  #hashBranches(): Buffer {
    const branches = Buffer.alloc(this.size * HASH_BYTES);
    const visit = (lo: number, hi: number): Buffer => {
      const first = this.#key(lo);
      if (hi - lo === 1) return leafHash(first, this.#digests.subarray(lo * HASH_BYTES, hi * HASH_BYTES));
      const bitlen = commonBits(first, this.#key(hi - 1));
      const at = this.#split(lo, hi, bitlen);
      const value = nodeHash(bitlen, first, visit(lo, at), visit(at, hi));
      branches.set(value, at * HASH_BYTES);
      return value;
    };
    if (this.size > 0) visit(0, this.size);
    return branches;
  }
}
