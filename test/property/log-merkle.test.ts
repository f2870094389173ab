/** The tile log against RFC 6962 written down word for word. */
import {
  completeRoot,
  consistencyProofRanges,
  decodeBundle,
  EMPTY_EDGE,
  edgeRoot,
  encodeBundle,
  hashLeaf,
  inclusionProofRanges,
  parseTilePath,
  planAppend,
  TileHashes,
  TransparencyError,
  tilePath,
  tilesOf,
  verifyConsistency,
  verifyInclusion,
} from "@hullmark/verifier/core/transparency/index";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemoryLogStore } from "../fakes/memory-log-store.ts";
import { mth, path, proof } from "../fakes/naive-merkle.ts";

const entriesOf = (size: number) => Array.from({ length: size }, (_, i) => Buffer.from(`entry ${i}`));

async function logOf(entries: readonly Uint8Array[], batches: readonly number[]): Promise<{ store: MemoryLogStore; root: Buffer }> {
  const store = new MemoryLogStore();
  let edge = EMPTY_EDGE;
  for (let at = 0, i = 0; at < entries.length; i++) {
    const count = Math.max(1, batches[i % Math.max(1, batches.length)] ?? 1);
    const planned = planAppend(edge, entries.slice(at, at + count));
    await store.append(planned.append);
    edge = planned.edge;
    at += count;
  }
  return { store, root: edgeRoot(edge) };
}

describe("Merkle log", () => {
  it("has the root of RFC 6962 at every size to 600, and all proofs of small logs", async () => {
    const all = entriesOf(600);
    let edge = EMPTY_EDGE;
    expect(edgeRoot(edge)).toEqual(mth([]));
    for (const [i, entry] of all.entries()) {
      edge = planAppend(edge, [entry]).edge;
      if (i < 40 || i % 37 === 0 || [255, 256, 257, 511, 512].includes(i)) expect(edgeRoot(edge)).toEqual(mth(all.slice(0, i + 1)));
    }
    const { store } = await logOf(all.slice(0, 33), [1]);
    const hashes = new TileHashes(store, 33);
    for (let size = 1; size <= 33; size++) {
      const d = all.slice(0, size);
      for (let m = 0; m < size; m++) expect(await hashes.inclusionProof(m, size)).toEqual(path(m, d));
      for (let m = 1; m <= size; m++) expect(await hashes.consistencyProof(m, size)).toEqual(proof(m, d));
    }
  });

  it("does not depend on how appends are batched, and its proofs are those of the RFC and verify", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 1200 }),
        fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 8 }),
        fc.nat(),
        fc.nat(),
        async (size, batches, a, b) => {
          const entries = entriesOf(size);
          const { store, root } = await logOf(entries, batches);
          expect(root).toEqual(mth(entries));
          const hashes = new TileHashes(store, size);
          expect(await hashes.root()).toEqual(root);
          const index = a % size;
          const inclusion = await hashes.inclusionProof(index);
          expect(inclusion).toEqual(path(index, entries));
          verifyInclusion(hashLeaf(entries[index] as Buffer), index, size, inclusion, root);
          const old = 1 + (b % size);
          const consistency = await hashes.consistencyProof(old);
          expect(consistency).toEqual(proof(old, entries));
          verifyConsistency(old, size, await hashes.root(old), root, consistency);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("rejects a proof in which any one bit, the length, the index or the size is another", async () => {
    const size = 77;
    const entries = entriesOf(size);
    const { store, root } = await logOf(entries, [9]);
    const hashes = new TileHashes(store, size);
    const flip = (list: readonly Buffer[], which: number, bit: number) =>
      list.map((hash, i) => {
        const copy = Buffer.from(hash);
        if (i === which) copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        return copy;
      });
    fc.assert(
      await (async () => {
        const inclusion = await hashes.inclusionProof(50);
        const consistency = await hashes.consistencyProof(43);
        const oldRoot = await hashes.root(43);
        const leaf = hashLeaf(entries[50] as Buffer);
        return fc.property(fc.nat(), fc.nat(255), (which, bit) => {
          expect(() => verifyInclusion(leaf, 50, size, flip(inclusion, which % inclusion.length, bit), root)).toThrow(TransparencyError);
          expect(() => verifyConsistency(43, size, oldRoot, root, flip(consistency, which % consistency.length, bit))).toThrow(TransparencyError);
          expect(() => verifyInclusion(leaf, 50, size, inclusion.slice(0, which % inclusion.length), root)).toThrow(TransparencyError);
          expect(() => verifyInclusion(leaf, 50, size, [...inclusion, root], root)).toThrow(TransparencyError);
          expect(() => verifyConsistency(43, size, oldRoot, root, consistency.slice(0, which % consistency.length))).toThrow(TransparencyError);
          const other = which % size;
          if (other !== 50) expect(() => verifyInclusion(leaf, other, size, inclusion, root)).toThrow(TransparencyError);
        });
      })(),
      { numRuns: 300 },
    );
  });

  it("names proofs of logs far beyond 2^32 entries", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.maxSafeNat(), (a, b) => {
        const [low, high] = a < b ? [a, b] : [b, a];
        fc.pre(low < high && low > 0);
        for (const range of [...inclusionProofRanges(low, high), ...consistencyProofRanges(low, high)]) {
          expect(Number.isSafeInteger(range.start + range.length)).toBe(true);
          expect(range.start + range.length).toBeLessThanOrEqual(high);
        }
        expect(inclusionProofRanges(low, high).length).toBeLessThanOrEqual(53);
        expect(consistencyProofRanges(low, high).length).toBeLessThanOrEqual(54);
      }),
    );
  });
});

describe("tiles", () => {
  it("are those of the example in C2SP tlog-tiles: 70,000 entries", () => {
    const tiles = [...tilesOf(70_000)].filter(({ level }) => level !== "entries").map(tilePath);
    expect(tiles.length).toBe(273 + 1 + 1 + 1 + 1);
    expect(tiles).toContain("tile/0/273.p/112");
    expect(tiles).toContain("tile/1/000");
    expect(tiles).toContain("tile/1/001.p/17");
    expect(tiles).toContain("tile/2/000.p/1");
    expect([...tilesOf(256)].map(tilePath)).toEqual(["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    expect([...tilesOf(0)]).toEqual([]);
    expect(tilePath({ level: 0, index: 1234067, width: 256 })).toBe("tile/0/x001/x234/067");
  });

  it("have one path each, read back as written", () => {
    fc.assert(
      fc.property(fc.constantFrom("entries" as const, 0, 1, 6), fc.maxSafeNat(), fc.integer({ min: 1, max: 256 }), (level, index, width) => {
        expect(parseTilePath(tilePath({ level, index, width }))).toEqual({ level, index, width });
      }),
    );
    const bad = [
      "tile/0/0",
      "tile/0/x000/001",
      "tile/0/1234",
      "tile/00/000",
      "tile/0/000.p/0",
      "tile/0/000.p/256",
      "tile/0/000.p/01",
      "tile/0/000/",
      "tile/-1/000",
    ];
    bad.push("tile/0/../000", "tile/0/x1/000", "tile/entries/000.p/", "tile/0/000\n", "tile/0/x999/x999/x999/x999/x999/999", "");
    for (const wrong of bad) expect(() => parseTilePath(wrong), wrong).toThrow(TransparencyError);
  });

  it("carry bundles that are read back, and cut ones that are not", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 256 }), fc.nat(), (entries, cut) => {
        const bundle = encodeBundle(entries);
        expect(decodeBundle(bundle).map((entry) => [...entry])).toEqual(entries.map((entry) => [...entry]));
        const ends = new Set([0]);
        for (let at = 0; at < bundle.length; ends.add(at)) at += 2 + bundle.readUInt16BE(at);
        const length = cut % (bundle.length + 1);
        if (!ends.has(length)) expect(() => decodeBundle(bundle.subarray(0, length))).toThrow(TransparencyError);
      }),
    );
    expect(() => decodeBundle(Buffer.alloc(2 * 257))).toThrow(TransparencyError);
    expect(completeRoot([hashLeaf(Buffer.from("a"))])).toEqual(hashLeaf(Buffer.from("a")));
  });
});
