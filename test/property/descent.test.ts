import { randomBytes } from "node:crypto";
import { type EntryRecord, encodeRecord, PatriciaTree, pathKey, recordDigest } from "@hullmark/proto/codec";
import { Descent, type ExpectedTree, type Position } from "@hullmark/verifier/core/appraisal/index";
import { LayerTree } from "@hullmark/verifier/core/reference-value/index";
import fc from "fast-check";
import { expect, test } from "vitest";

type Entries = Map<string, Buffer>;

const file = (content: number): Buffer => {
  const record: EntryRecord = { type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content), sha256: Buffer.alloc(32, content) };
  return encodeRecord(record);
};

const entriesArbitrary = fc.dictionary(fc.stringMatching(/^[a-z]{1,6}$/), fc.integer({ min: 0, max: 3 }), { maxKeys: 60 });

function toEntries(dictionary: Record<string, number>): Entries {
  return new Map(Object.entries(dictionary).map(([path, content]) => [path, file(content)]));
}

/** The reference side as the verifier builds it. */
function expectedTree(entries: Entries): ExpectedTree {
  const leaves = [...entries].map(([path, record]) => ({ path: Buffer.from(path), record, implied: false }));
  const tree = LayerTree.build(leaves);
  return {
    root: tree.root,
    descend: (key, bits) => tree.descend(key, bits),
    *entriesBelow(key, bits) {
      for (const entry of tree.entries()) if (sharesBits(pathKey(entry.path), key, bits)) yield entry;
    },
  };
}

function sharesBits(a: Uint8Array, b: Uint8Array, bits: number): boolean {
  for (let i = 0; i < bits; i++) if (((a[i >> 3] as number) ^ (b[i >> 3] as number)) & (0x80 >> (i & 7))) return false;
  return true;
}

/** An honest agent. */
function observedTree(entries: Entries): { root: Buffer; answer: (key: Buffer, bits: number) => Position } {
  const tree = new PatriciaTree();
  const byKey = new Map<string, { path: Buffer; record: Buffer }>();
  for (const [path, record] of entries) {
    const key = pathKey(Buffer.from(path));
    tree.set(key, recordDigest(record));
    byKey.set(key.toString("hex"), { path: Buffer.from(path), record });
  }
  const answer = (key: Buffer, bits: number): Position => {
    const at = tree.descend(key, bits);
    if (at.kind === "leaf") return { kind: "leaf", ...(byKey.get(at.key.toString("hex")) as { path: Buffer; record: Buffer }) };
    if (at.kind === "node") return { kind: "node", bitlen: at.bitlen, prefix: at.prefix, left: at.left, right: at.right };
    throw new Error("asked for a position that no hash led to");
  };
  return { root: tree.root(), answer };
}

test("descent finds exactly the entries that differ", () => {
  fc.assert(
    fc.property(entriesArbitrary, entriesArbitrary, fc.boolean(), (a, b, similar) => {
      const before = toEntries(a);
      const after = similar ? new Map([...before, ...[...toEntries(b)].slice(0, 3)]) : toEntries(b);
      const observed = observedTree(after);
      const descent = new Descent(expectedTree(before), observed.root);
      while (!descent.done) expect(descent.accept(descent.next().map(({ key, bits }) => observed.answer(key, bits)))).toBeUndefined();
      const found = new Map(descent.differences().map(({ path, expected, observed: record }) => [path.toString(), [expected, record]]));
      const want = new Map<string, unknown>();
      for (const path of new Set([...before.keys(), ...after.keys()])) {
        const [x, y] = [before.get(path), after.get(path)];
        if (x === undefined || y === undefined || !x.equals(y)) want.set(path, [x, y]);
      }
      expect(found).toEqual(want);
    }),
    { numRuns: 300 },
  );
});

test("an answer that does not have the hash that led to it is refused", () => {
  const before = new Map(Array.from({ length: 40 }, (_, i) => [`f${i}`, file(1)]));
  const after = new Map([...before, ["f7", file(2)]]);
  const observed = observedTree(after);
  const descent = new Descent(expectedTree(before), observed.root);
  const forged = descent.next().map(({ key, bits }) => {
    const position = observed.answer(key, bits);
    return position.kind === "node" ? { ...position, left: randomBytes(32) } : { ...position, record: file(3) };
  });
  expect(descent.accept(forged)).toMatch(/hash/);
});

test("a short answer is refused", () => {
  const observed = observedTree(new Map([["a", file(1)]]));
  const descent = new Descent(expectedTree(new Map()), observed.root);
  descent.next();
  expect(descent.accept([])).toMatch(/positions/);
});
