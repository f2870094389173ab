/**
 * The tree of a set of records: a compressed binary Patricia trie keyed by SHA-256(path).
 *
 * `key = SHA-256(path)` · `leaf = SHA-256(0x00 ‖ key ‖ SHA-256(record))` ·
 * `node = SHA-256(0x01 ‖ u16 bitlen ‖ prefix ‖ left ‖ right)` where `bitlen` (0..255) counts the bits that all keys below share,
 * from the key's first bit on, and `prefix` is those bits, padded with zero bits to whole bytes. `empty = SHA-256(0x02)`.
 * The root depends on the set alone, never on the order of insertion.
 */
import { hash } from "node:crypto";
import { CodecError } from "./errors.ts";

export const HASH_BYTES = 32;

function sha256(data: Uint8Array): Buffer {
  return hash("sha256", data, "buffer");
}

/** Root of the tree without entries. */
export const EMPTY_ROOT: Buffer = sha256(Uint8Array.of(2));

/** What a LayerUpdate calls the one tree of a container whose root has no layer directories; a layer's directory has `@` in its name. */
export function mergedTreeId(containerId: string): string {
  return `merged/${containerId}`;
}

/** The key of a path. */
export function pathKey(path: Uint8Array): Buffer {
  return sha256(path);
}

/** SHA-256 of an encoded record: what a leaf commits to. */
export function recordDigest(encodedRecord: Uint8Array): Buffer {
  return sha256(encodedRecord);
}

export function leafHash(key: Uint8Array, digest: Uint8Array): Buffer {
  const input = Buffer.allocUnsafe(65);
  input[0] = 0;
  input.set(key, 1);
  input.set(digest, 33);
  return sha256(input);
}

/** The first `bitlen` bits of a key in whole bytes, the spare bits zero. */
function prefixOf(key: Uint8Array, bitlen: number): Buffer {
  const prefix = Buffer.from(key.subarray(0, (bitlen + 7) >> 3));
  const spare = prefix.length * 8 - bitlen;
  if (spare > 0) prefix[prefix.length - 1] = (prefix.at(-1) ?? 0) & (0xff << spare);
  return prefix;
}

/** @param bitlen bits shared by both sides, 0..255; @param key any key below this node */
export function nodeHash(bitlen: number, key: Uint8Array, left: Uint8Array, right: Uint8Array): Buffer {
  const prefix = prefixOf(key, bitlen);
  const input = Buffer.allocUnsafe(3 + prefix.length + 64);
  input[0] = 1;
  input.writeUInt16BE(bitlen, 1);
  input.set(prefix, 3);
  input.set(left, 3 + prefix.length);
  input.set(right, 3 + prefix.length + 32);
  return sha256(input);
}

/** Number of leading bits that two 32-byte keys share: 0..256. */
export function commonBits(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < HASH_BYTES; i++) {
    const difference = (a[i] ?? 0) ^ (b[i] ?? 0);
    if (difference !== 0) return i * 8 + Math.clz32(difference) - 24;
  }
  return HASH_BYTES * 8;
}

function bitAt(key: Uint8Array, index: number): 0 | 1 {
  return (((key[index >> 3] ?? 0) >> (7 - (index & 7))) & 1) as 0 | 1;
}

interface Leaf<V> {
  readonly key: Buffer;
  readonly digest: Buffer;
  readonly value: V;
  hash: Buffer | undefined;
}
interface Node<V> {
  /** Any key below: names the prefix. */
  readonly key: Buffer;
  readonly bitlen: number;
  readonly left: Trie<V>;
  readonly right: Trie<V>;
  /** Filled in when first asked for; everything else never changes, so that copies can share. */
  hash: Buffer | undefined;
}
type Trie<V> = Leaf<V> | Node<V>;

function isNode<V>(trie: Trie<V>): trie is Node<V> {
  return "bitlen" in trie;
}

function trieHash(trie: Trie<unknown>): Buffer {
  if (trie.hash) return trie.hash;
  trie.hash = isNode(trie) ? nodeHash(trie.bitlen, trie.key, trieHash(trie.left), trieHash(trie.right)) : leafHash(trie.key, trie.digest);
  return trie.hash;
}

/** What {@link PatriciaTree.descend} tells of one position. */
export type TreePosition =
  | { readonly kind: "empty" }
  | { readonly kind: "leaf"; readonly key: Buffer; readonly digest: Buffer; readonly hash: Buffer }
  | { readonly kind: "node"; readonly bitlen: number; readonly prefix: Buffer; readonly hash: Buffer; readonly left: Buffer; readonly right: Buffer };

/**
 * A tree with O(log n) updates and copies that cost nothing: an update rebuilds the path to the root and shares the rest.
 * Keys and digests are 32 bytes and are kept by reference: the caller must not change them afterwards.
 * A tree may carry a value beside each digest; the hashes say nothing of it. Keys are SHA-256, so nobody can choose paths that make it slow.
 */
export class PatriciaTree<V = undefined> {
  #root: Trie<V> | undefined;
  #size = 0;

  /** A tree of its own with the same entries. O(1). */
  clone(): PatriciaTree<V> {
    const copy = new PatriciaTree<V>();
    copy.#root = this.#root;
    copy.#size = this.#size;
    return copy;
  }

  get size(): number {
    return this.#size;
  }

  /** The root hash; {@link EMPTY_ROOT} without entries. Shares memory with the tree. */
  root(): Buffer {
    return this.#root ? trieHash(this.#root) : EMPTY_ROOT;
  }

  /** Sets the record digest of a key, and the value beside it. */
  set(key: Buffer, digest: Buffer, ...[value]: undefined extends V ? [value?: V] : [value: V]): void {
    if (key.length !== HASH_BYTES || digest.length !== HASH_BYTES) throw new CodecError("WRONG_LENGTH", "key and digest are 32 bytes");
    const leaf: Leaf<V> = { key, digest, value: value as V, hash: undefined };
    if (!this.#root) {
      this.#root = leaf;
      this.#size = 1;
      return;
    }
    const shared = commonBits(this.#nearest(key).key, key);
    const { path, at } = this.#walk(key, shared);
    if (shared === HASH_BYTES * 8) {
      this.#rebuild(path, key, leaf);
      return;
    }
    const right = bitAt(key, shared);
    this.#rebuild(path, key, { key, bitlen: shared, left: right ? at : leaf, right: right ? leaf : at, hash: undefined });
    this.#size++;
  }

  /** Removes a key. @returns whether it was there */
  delete(key: Buffer): boolean {
    if (!this.#root || commonBits(this.#nearest(key).key, key) !== HASH_BYTES * 8) return false;
    const { path } = this.#walk(key, HASH_BYTES * 8);
    const parent = path.pop();
    if (parent) this.#rebuild(path, key, bitAt(key, parent.bitlen) ? parent.left : parent.right);
    else this.#root = undefined;
    this.#size--;
    return true;
  }

  /** The record digest of a key, or undefined. */
  get(key: Uint8Array): Buffer | undefined {
    return this.#leaf(key)?.digest;
  }

  /** The value beside the record digest of a key, or undefined. */
  value(key: Uint8Array): V | undefined {
    return this.#leaf(key)?.value;
  }

  /** Every value, in the order of the keys. */
  *values(): Generator<V> {
    const pending: Trie<V>[] = this.#root ? [this.#root] : [];
    for (let at = pending.pop(); at; at = pending.pop()) {
      if (isNode(at)) pending.push(at.right, at.left);
      else yield at.value;
    }
  }

  #leaf(key: Uint8Array): Leaf<V> | undefined {
    const nearest = this.#root && this.#nearest(key);
    return nearest && commonBits(nearest.key, key) === HASH_BYTES * 8 ? nearest : undefined;
  }

  /** The topmost position whose keys all start with the first `bits` bits of `key` (0..256). */
  descend(key: Uint8Array, bits: number): TreePosition {
    if (!this.#root) return { kind: "empty" };
    const { at } = this.#walk(key, bits);
    if (commonBits(at.key, key) < bits) return { kind: "empty" };
    if (!isNode(at)) return { kind: "leaf", key: at.key, digest: at.digest, hash: trieHash(at) };
    return { kind: "node", bitlen: at.bitlen, prefix: prefixOf(at.key, at.bitlen), hash: trieHash(at), left: trieHash(at.left), right: trieHash(at.right) };
  }

  #nearest(key: Uint8Array): Leaf<V> {
    let at = this.#root as Trie<V>;
    while (isNode(at)) at = bitAt(key, at.bitlen) ? at.right : at.left;
    return at;
  }

  /** From the root towards `key` while nodes branch above `bits`: the nodes passed, and where the walk ends. */
  #walk(key: Uint8Array, bits: number): { path: Node<V>[]; at: Trie<V> } {
    const path: Node<V>[] = [];
    let at = this.#root as Trie<V>;
    while (isNode(at) && at.bitlen < bits) {
      path.push(at);
      at = bitAt(key, at.bitlen) ? at.right : at.left;
    }
    return { path, at };
  }

  #rebuild(path: Node<V>[], key: Uint8Array, replacement: Trie<V>): void {
    let below = replacement;
    for (let i = path.length - 1; i >= 0; i--) {
      const node = path[i] as Node<V>;
      const right = bitAt(key, node.bitlen);
      // Any key below names the prefix; the replacement's is one that stays.
      below = { key: below.key, bitlen: node.bitlen, left: right ? node.left : below, right: right ? below : node.right, hash: undefined };
    }
    this.#root = below;
  }
}
