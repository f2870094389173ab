/**
 * Merkle proofs: which subtrees a proof consists of (RFC 6962 sections 2.1.1 and 2.1.2), and their verification
 * (RFC 9162 sections 2.1.3.2 and 2.1.4.2). The proof, the sizes and the roots of a verification may all be an attacker's.
 */
import { TransparencyError } from "./errors.ts";
import { assertCount, EMPTY_LOG_ROOT, hashChildren, type LeafRange, LOG_HASH_BYTES, splitPoint } from "./hash.ts";

/** A proof between trees of at most 2^53 leaves has no more hashes. */
const MAX_PROOF_HASHES = 2 * 53;

/** The subtrees of the inclusion proof of leaf `index` in the tree of `size` leaves, nearest the leaf first. */
export function inclusionProofRanges(index: number, size: number): LeafRange[] {
  assertCount("leaf index", index);
  assertCount("tree size", size);
  if (index >= size) throw new TransparencyError("OUT_OF_RANGE", `leaf ${index} of a tree of ${size}`);
  const ranges: LeafRange[] = [];
  let start = 0;
  let length = size;
  while (length > 1) {
    const left = splitPoint(length);
    if (index - start < left) {
      ranges.push({ start: start + left, length: length - left });
      length = left;
    } else {
      ranges.push({ start, length: left });
      start += left;
      length -= left;
    }
  }
  return ranges.reverse();
}

/** The subtrees of the consistency proof from the tree of `oldSize` leaves to that of `newSize`. Empty where either is trivial. */
export function consistencyProofRanges(oldSize: number, newSize: number): LeafRange[] {
  assertCount("old size", oldSize);
  assertCount("new size", newSize);
  if (oldSize > newSize) throw new TransparencyError("OUT_OF_RANGE", `old size ${oldSize} above new size ${newSize}`);
  if (oldSize === 0 || oldSize === newSize) return [];
  const ranges: LeafRange[] = [];
  let start = 0;
  let length = newSize;
  let old = oldSize;
  // True while the old tree is still a whole left part, whose root the verifier knows.
  let known = true;
  while (old !== length) {
    const left = splitPoint(length);
    if (old <= left) {
      ranges.push({ start: start + left, length: length - left });
      length = left;
    } else {
      ranges.push({ start, length: left });
      start += left;
      length -= left;
      old -= left;
      known = false;
    }
  }
  if (!known) ranges.push({ start, length });
  return ranges.reverse();
}

/** @throws TransparencyError BAD_PROOF unless `proof` shows `leafHash` at `index` in the tree of `size` leaves with this root. */
export function verifyInclusion(leafHash: Uint8Array, index: number, size: number, proof: readonly Uint8Array[], root: Uint8Array): void {
  assertCount("leaf index", index);
  assertCount("tree size", size);
  if (index >= size) throw new TransparencyError("BAD_PROOF", `leaf ${index} of a tree of ${size}`);
  assertHashes([leafHash, root, ...proof]);
  let node = index;
  let last = size - 1;
  let computed: Buffer = Buffer.from(leafHash);
  for (const hash of proof) {
    if (last === 0) throw new TransparencyError("BAD_PROOF", "the proof is too long");
    if (node % 2 === 1 || node === last) {
      computed = hashChildren(hash, computed);
      while (node % 2 === 0 && node !== 0) {
        node = Math.floor(node / 2);
        last = Math.floor(last / 2);
      }
    } else {
      computed = hashChildren(computed, hash);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  if (last !== 0) throw new TransparencyError("BAD_PROOF", "the proof is too short");
  if (!computed.equals(root)) throw new TransparencyError("BAD_PROOF", "the proof leads to another root");
}

/** @throws TransparencyError BAD_PROOF unless `proof` shows that the tree of `oldSize` with `oldRoot` is a prefix of that of `newSize` with `newRoot`. From an empty log there is nothing to prove: also BAD_PROOF. */
export function verifyConsistency(oldSize: number, newSize: number, oldRoot: Uint8Array, newRoot: Uint8Array, proof: readonly Uint8Array[]): void {
  assertCount("old size", oldSize);
  assertCount("new size", newSize);
  if (oldSize > newSize) throw new TransparencyError("BAD_PROOF", `the log shrank from ${oldSize} to ${newSize}`);
  if (oldSize === 0 && !EMPTY_LOG_ROOT.equals(oldRoot)) throw new TransparencyError("BAD_PROOF", "an empty log with a root that is not the empty root");
  if (oldSize === 0 && newSize > 0) throw new TransparencyError("BAD_PROOF", "an empty log is the start of every log: there is nothing to prove");
  if (oldSize === newSize && Buffer.compare(oldRoot, newRoot) !== 0) throw new TransparencyError("BAD_PROOF", `two roots for size ${oldSize}`);
  if (oldSize === newSize) {
    if (proof.length > 0) throw new TransparencyError("BAD_PROOF", "a proof where none is needed");
    return;
  }
  assertHashes([oldRoot, newRoot, ...proof]);
  let node = oldSize - 1;
  let last = newSize - 1;
  while (node % 2 === 1) {
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  // A power of two: the old root itself starts the proof and is left out of it.
  const path = node === 0 ? [oldRoot, ...proof] : proof;
  const first = path[0];
  if (!first || proof.length === 0) throw new TransparencyError("BAD_PROOF", "the proof is empty");
  let oldComputed: Buffer = Buffer.from(first);
  let newComputed: Buffer = oldComputed;
  for (const hash of path.slice(1)) {
    if (last === 0) throw new TransparencyError("BAD_PROOF", "the proof is too long");
    if (node % 2 === 1 || node === last) {
      oldComputed = hashChildren(hash, oldComputed);
      newComputed = hashChildren(hash, newComputed);
      while (node % 2 === 0 && node !== 0) {
        node = Math.floor(node / 2);
        last = Math.floor(last / 2);
      }
    } else {
      newComputed = hashChildren(newComputed, hash);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  if (last !== 0) throw new TransparencyError("BAD_PROOF", "the proof is too short");
  if (!oldComputed.equals(oldRoot)) throw new TransparencyError("BAD_PROOF", "the proof leads to another old root");
  if (!newComputed.equals(newRoot)) throw new TransparencyError("BAD_PROOF", "the proof leads to another new root");
}

function assertHashes(hashes: readonly Uint8Array[]): void {
  if (hashes.length > MAX_PROOF_HASHES) throw new TransparencyError("BAD_PROOF", `${hashes.length} hashes, limit ${MAX_PROOF_HASHES}`);
  for (const hash of hashes)
    if (hash.length !== LOG_HASH_BYTES) throw new TransparencyError("BAD_PROOF", `a hash of ${hash.length} bytes, want ${LOG_HASH_BYTES}`);
}
