/** RFC 6962 section 2.1 hashing, and the shape of its trees as ranges of leaves. Sizes and indexes are integers up to 2^53 - 1: no 32-bit operators here. */
import { hash } from "node:crypto";
import { TransparencyError } from "./errors.ts";

export const LOG_HASH_BYTES = 32;

/** Root of the log without entries: SHA-256 of nothing. */
export const EMPTY_LOG_ROOT: Buffer = hash("sha256", "", "buffer");

/** `SHA-256(0x00 ‖ entry)`. */
export function hashLeaf(entry: Uint8Array): Buffer {
  const input = Buffer.allocUnsafe(entry.length + 1);
  input[0] = 0;
  input.set(entry, 1);
  return hash("sha256", input, "buffer");
}

/** `SHA-256(0x01 ‖ left ‖ right)`. */
export function hashChildren(left: Uint8Array, right: Uint8Array): Buffer {
  const input = Buffer.allocUnsafe(1 + 2 * LOG_HASH_BYTES);
  input[0] = 1;
  input.set(left, 1);
  input.set(right, 1 + LOG_HASH_BYTES);
  return hash("sha256", input, "buffer");
}

/** @throws TransparencyError OUT_OF_RANGE unless `value` is an integer of 0..2^53 - 1. */
export function assertCount(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new TransparencyError("OUT_OF_RANGE", `${name} ${value}`);
}

/** Largest power of two smaller than `n` (n ≥ 2): where RFC 6962 splits a tree. */
export function splitPoint(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** Leaves `start` to `start + length - 1`. */
export interface LeafRange {
  readonly start: number;
  readonly length: number;
}

/** The complete subtrees, largest (leftmost) first, that make up a range that starts at a multiple of the power of two it spans. */
export function completeSubtrees(range: LeafRange): LeafRange[] {
  const parts: LeafRange[] = [];
  let { start, length } = range;
  while (length > 0) {
    let part = 1;
    while (part * 2 <= length) part *= 2;
    parts.push({ start, length: part });
    start += part;
    length -= part;
  }
  return parts;
}

/** Root over neighbouring complete subtrees, largest first: RFC 6962 folds them from the right. @throws TransparencyError OUT_OF_RANGE for none */
export function foldSubtrees(hashes: readonly Uint8Array[]): Buffer {
  const last = hashes.at(-1);
  if (!last) throw new TransparencyError("OUT_OF_RANGE", "no subtrees to fold");
  let root: Buffer = Buffer.from(last);
  for (let i = hashes.length - 2; i >= 0; i--) root = hashChildren(hashes[i] as Uint8Array, root);
  return root;
}
