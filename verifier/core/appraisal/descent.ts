/**
 * Finds the files behind a differing root by walking the agent's tree and the expected one side by side: about
 * log2(n) questions a difference. The agent's answers are a peer's: each is checked against the hash that led to it.
 */
import { assertPath, commonBits, decodeRecord, EMPTY_ROOT, leafHash, nodeHash, pathKey, recordDigest } from "@hullmark/proto/codec";
import type { TreeDifference } from "./types.ts";

export const MAX_QUERIES_PER_REQUEST = 512;
/** Differences after which the descent stops: the layer is then "altered in more than N places". */
export const MAX_DIFFERENCES = 1024;

export interface Query {
  readonly key: Buffer;
  readonly bits: number;
}

/** An answer of the agent, decoded. */
export type Position =
  | { readonly kind: "leaf"; readonly path: Buffer; readonly record: Buffer }
  | { readonly kind: "node"; readonly bitlen: number; readonly prefix: Buffer; readonly left: Buffer; readonly right: Buffer };

/** The expected tree, as core/reference-value gives it. */
export interface ExpectedTree {
  readonly root: Buffer;
  /** The topmost position whose keys share the first `bits` bits of `key`. */
  descend(key: Uint8Array, bits: number): ExpectedPosition;
  /** Every entry whose key shares the first `bits` bits of `key`. */
  entriesBelow(key: Uint8Array, bits: number): Iterable<{ readonly path: Buffer; readonly record: Buffer }>;
}
export type ExpectedPosition =
  | { readonly kind: "empty" }
  | { readonly kind: "leaf"; readonly path: Buffer; readonly record: Buffer; readonly hash: Buffer }
  | { readonly kind: "node"; readonly bitlen: number; readonly hash: Buffer; readonly left: Buffer; readonly right: Buffer };

interface Pending extends Query {
  /** Hash that the answer must have. */
  readonly hash: Buffer;
}

/** One comparison. `next()` says what to ask, `accept()` takes the answers in the same order, until `done`. */
export class Descent {
  readonly #expected: ExpectedTree;
  readonly #differences = new Map<string, TreeDifference>();
  #queue: Pending[];
  #asked: Pending[] = [];
  #truncated = false;

  constructor(expected: ExpectedTree, observedRoot: Buffer) {
    this.#expected = expected;
    this.#queue = [{ key: Buffer.alloc(32), bits: 0, hash: observedRoot }];
    if (observedRoot.equals(EMPTY_ROOT)) {
      this.#queue = [];
      this.#missing(Buffer.alloc(32), 0);
    } else if (observedRoot.equals(expected.root)) this.#queue = [];
  }

  get done(): boolean {
    return this.#queue.length === 0 && this.#asked.length === 0;
  }

  get truncated(): boolean {
    return this.#truncated;
  }

  /** What to ask now, at most {@link MAX_QUERIES_PER_REQUEST}. */
  next(): readonly Query[] {
    this.#asked = this.#queue.splice(0, MAX_QUERIES_PER_REQUEST);
    return this.#asked;
  }

  /** @returns undefined, or why the answers cannot be (the tree changed meanwhile, or the agent does not answer truly): start again */
  accept(positions: readonly Position[]): string | undefined {
    const asked = this.#asked;
    this.#asked = [];
    if (positions.length !== asked.length) return `got ${positions.length} positions, want ${asked.length}`;
    for (const [i, query] of asked.entries()) {
      const problem = this.#step(query, positions[i] as Position);
      if (problem) return problem;
    }
    return undefined;
  }

  differences(): readonly TreeDifference[] {
    return [...this.#differences.values()];
  }

  #step(query: Pending, position: Position): string | undefined {
    if (position.kind === "leaf") return this.#leaf(query, position);
    if (position.bitlen > 255 || position.bitlen < query.bits || position.left.length !== 32 || position.right.length !== 32) return "malformed node";
    const prefix = Buffer.alloc(32);
    position.prefix.copy(prefix, 0, 0, 32);
    if (!nodeHash(position.bitlen, prefix, position.left, position.right).equals(query.hash)) return "node does not have the hash that led to it";
    if (commonBits(prefix, query.key) < query.bits) return "node outside the asked prefix";
    this.#outside(query, prefix, position.bitlen);
    for (const side of [0, 1] as const) this.#child(prefix, position.bitlen, side, side ? position.right : position.left);
    return undefined;
  }

  #leaf(query: Pending, { path, record }: { path: Buffer; record: Buffer }): string | undefined {
    assertPath(path);
    decodeRecord(record);
    const key = pathKey(path);
    if (!leafHash(key, recordDigest(record)).equals(query.hash)) return "leaf does not have the hash that led to it";
    if (commonBits(key, query.key) < query.bits) return "leaf outside the asked prefix";
    let expected: Buffer | undefined;
    for (const entry of this.#expected.entriesBelow(query.key, query.bits)) {
      if (entry.path.equals(path)) expected = entry.record;
      else if (!this.#add({ path: entry.path, expected: entry.record, observed: undefined })) break;
    }
    if (!expected?.equals(record)) this.#add({ path, expected, observed: record });
    return undefined;
  }

  /** The agent's keys here all share `bitlen` bits: expected entries below the query that do not are missing. */
  #outside(query: Pending, prefix: Buffer, bitlen: number): void {
    for (let bit = query.bits; bit < bitlen; bit++) {
      const other = Buffer.from(prefix);
      other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (0x80 >> (bit & 7));
      if (!this.#missing(other, bit + 1)) return;
    }
  }

  #child(prefix: Buffer, bitlen: number, side: 0 | 1, hash: Buffer): void {
    const key = Buffer.from(prefix);
    const mask = 0x80 >> (bitlen & 7);
    key[bitlen >> 3] = side ? (key[bitlen >> 3] ?? 0) | mask : (key[bitlen >> 3] ?? 0) & ~mask;
    const here = this.#expected.descend(key, bitlen + 1);
    if (here.kind !== "empty" && here.hash.equals(hash)) return;
    if (this.#queue.length + this.#differences.size >= MAX_DIFFERENCES * 4) this.#truncated = true;
    else this.#queue.push({ key, bits: bitlen + 1, hash });
  }

  #missing(key: Buffer, bits: number): boolean {
    for (const entry of this.#expected.entriesBelow(key, bits)) if (!this.#add({ path: entry.path, expected: entry.record, observed: undefined })) return false;
    return true;
  }

  #add(difference: Pick<TreeDifference, "path" | "expected" | "observed">): boolean {
    if (this.#differences.size >= MAX_DIFFERENCES) {
      this.#truncated = true;
      return false;
    }
    this.#differences.set(difference.path.toString("latin1"), { ...difference, actor: undefined, changedAtMs: undefined });
    return true;
  }
}
