import { encodeRecord, PatriciaTree, pathKey, recordDigest } from "@hullmark/proto/codec";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Dialect, dockerInitLayer, LayerReplay, LayerTree, MergedTree, RuntimeMade } from "../../verifier/core/reference-value/index.ts";
import { randomStack, seededRandom } from "../fakes/random-layers.ts";
import { replayStack } from "../fakes/replay-against.ts";
import { REPLAY_CASES } from "../fakes/replay-cases.ts";
import { directory, file, tar } from "../fakes/tar-writer.ts";

const seeds = fc.integer({ min: 1, max: 1_000_000 });
const dialects = fc.constantFrom<Dialect>("docker", "containerd");
const stackOf = (seed: number, dialect: Dialect): LayerTree[] => {
  const { layers } = randomStack(seed, 0, (each) => !("unextractable" in replayStack(each, dialect)));
  return replayStack(layers, dialect) as LayerTree[];
};
const record = (text: string): Buffer => encodeRecord({ type: "l", mode: 0o777, uid: 0, gid: 0, xattrs: [], target: Buffer.from(text) });

describe("LayerTree", () => {
  it("is the canonical Patricia tree", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ minLength: 1, maxLength: 6 }), { maxLength: 40 }), fc.nat(256), (names, bits) => {
        const leaves = names.map((name) => ({ path: Buffer.from(name), record: record(name), implied: name.length % 2 === 0 }));
        const tree = LayerTree.build(leaves);
        const oracle = new PatriciaTree();
        for (const leaf of leaves) oracle.set(pathKey(leaf.path), recordDigest(leaf.record));
        expect(tree.root).toEqual(oracle.root());
        for (const name of [...names, "absent"]) {
          const key = pathKey(Buffer.from(name));
          const want = oracle.descend(key, bits);
          // PatriciaTree leaves the bits after the prefix as they are in some key; LayerTree clears them, as the node hash does.
          if (want.kind === "node" && want.bitlen % 8 > 0) want.prefix[want.prefix.length - 1] = (want.prefix.at(-1) ?? 0) & (0xff << (8 - (want.bitlen % 8)));
          expect(tree.descend(key, bits)).toMatchObject(want);
          expect(tree.get(Buffer.from(name))?.digest).toEqual(oracle.get(key));
        }
        const copy = LayerTree.deserialize(tree.serialize());
        expect([...copy.entries()]).toEqual([...tree.entries()]);
        expect(copy.root).toEqual(tree.root);
      }),
    );
  });

  it("refuses bytes that it would not have written", () => {
    const bytes = LayerTree.build([{ path: Buffer.from("a"), record: record("x"), implied: false }]).serialize();
    for (let end = 0; end < bytes.length; end++) expect(() => LayerTree.deserialize(bytes.subarray(0, end))).toThrow();
    expect(() => LayerTree.deserialize(Buffer.concat([bytes, Buffer.of(0)]))).toThrow(/TRAILING/);
    const twice = Buffer.concat([bytes, bytes.subarray(5)]);
    twice.writeUInt32BE(2, 1);
    expect(() => LayerTree.deserialize(twice)).toThrow(/BAD_ORDER/);
    const huge = Buffer.from(bytes);
    huge.writeUInt32BE(0xffffffff, 1);
    expect(() => LayerTree.deserialize(huge)).toThrow(/TOO_LONG/);
  });
});

describe("replay", () => {
  it("does not depend on how the tar is cut into chunks", () => {
    const random = seededRandom(7);
    for (const { layers } of REPLAY_CASES.filter(({ name }) => name !== "big-file")) {
      for (const dialect of ["docker", "containerd"] as const) {
        const whole = new LayerReplay({ dialect, lower: [] });
        const pieces = new LayerReplay({ dialect, lower: [] });
        const layer = layers[0] as Buffer;
        whole.push(layer);
        for (let at = 0; at < layer.length; ) {
          const bytes = 1 + Math.floor(random() * (random() < 0.5 ? 5 : 700));
          // The chunk is overwritten afterwards: nothing may be kept of it.
          const chunk = Buffer.from(layer.subarray(at, at + bytes));
          pieces.push(chunk);
          chunk.fill(0xa5);
          at += bytes;
        }
        const [a, b] = [whole.finish(), pieces.finish()];
        expect(b.diffId).toBe(a.diffId);
        if ("unextractable" in a.reference) expect(b.reference).toEqual(a.reference);
        else expect((b.reference as LayerTree).root).toEqual(a.reference.root);
      }
    }
  });

  it("answers damaged tars with a tree or a reason, never by throwing", () => {
    fc.assert(
      fc.property(seeds, dialects, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 }), (seed, dialect, damage) => {
        const layer = Buffer.from(REPLAY_CASES[seed % REPLAY_CASES.length]?.layers.at(-1) ?? "");
        for (const [at, byte] of damage) if (layer.length > 0) layer[at % Math.min(layer.length, 4096)] = byte;
        const replay = new LayerReplay({ dialect, lower: [] });
        replay.push(layer);
        const { reference } = replay.finish();
        expect("unextractable" in reference || reference.root.length === 32).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it("stops at its limits", () => {
    const limits = { maxTarBytes: 1 << 20, maxEntries: 3, maxInodes: 3, maxSparseBytes: 100, maxMetadataBytes: 1000 };
    const verdict = (layer: Buffer): unknown => {
      const replay = new LayerReplay({ dialect: "docker", lower: [], limits });
      replay.push(layer);
      return replay.finish().reference;
    };
    expect(verdict(tar(file("a"), file("b"), file("c")))).toBeInstanceOf(LayerTree);
    expect(verdict(tar(file("a/b/c/d")))).toMatchObject({ unextractable: { code: "LIMIT" } });
    expect(verdict(tar(file("a".repeat(600)), file("b".repeat(600))))).toMatchObject({ unextractable: expect.anything() });
    expect(verdict(Buffer.alloc(2 << 20, 1))).toMatchObject({ unextractable: { code: "LIMIT" } });
    expect(verdict(tar(directory("a"), directory("b"), directory("c"), directory("d")))).toMatchObject({
      unextractable: { code: expect.stringMatching(/LIMIT|BAD_TAR/) },
    });
  });
});

/** overlayfs in the most literal way: copy upwards layer by layer, removing what each hides. */
function naiveMerge(layers: readonly LayerTree[]): Map<string, number> {
  const seen = new Map<string, number>();
  for (const [i, layer] of layers.entries()) {
    const entries = [...layer.entries()].map(({ path, record: encoded }) => ({
      path: path.toString("latin1"),
      type: String.fromCharCode(encoded[1] ?? 0),
      opaque: encoded[1] === 0x64 && encoded[12] === 1,
    }));
    for (const { path, type, opaque } of entries) {
      const replaced = seen.get(path);
      const replacesFile = replaced !== undefined && (layers[replaced]?.get(Buffer.from(path, "latin1"))?.record[1] ?? 0) !== 0x64;
      if (type === "d" && !opaque && !replacesFile) continue;
      for (const name of seen.keys()) if (name === path || name.startsWith(`${path}/`)) seen.delete(name);
    }
    for (const { path, type } of entries) if (type !== "w") seen.set(path, i);
  }
  return seen;
}

describe("MergedTree", () => {
  it("shows what overlayfs shows", () => {
    fc.assert(
      fc.property(seeds, dialects, (seed, dialect) => {
        const layers = stackOf(seed, dialect);
        const merged = MergedTree.of(layers);
        const expected = naiveMerge(layers);
        const paths = new Set(layers.flatMap((layer) => [...layer.entries()].map(({ path }) => path.toString("latin1"))));
        for (const path of paths) expect([path, merged.get(Buffer.from(path, "latin1"))?.layerIndex]).toEqual([path, expected.get(path)]);
        const listed = [...merged.entries()];
        expect(new Set(listed.map(({ path }) => path.toString("latin1")))).toEqual(new Set(expected.keys()));
        for (const entry of listed)
          expect(merged.findByRecord(entry.digest).map(({ path }) => path.toString("latin1"))).toContain(entry.path.toString("latin1"));
      }),
      { numRuns: 150 },
    );
  });
});

describe("what the runtime makes", () => {
  const [tree] = replayStack([tar(directory("etc"), file("etc/hosts", "x"))], "docker") as [LayerTree];
  const image = MergedTree.of([tree]);
  const made = new RuntimeMade({ ofDocker: true, image, mountDestinations: ["/data/x"], volumes: ["/vol"], workingDirectory: "/work" });
  const entry = (type: "d" | "p", mode = 0o755, uid = 0): Buffer =>
    type === "d" ? encodeRecord({ type, mode, uid, gid: 0, xattrs: [], opaque: false }) : encodeRecord({ type, mode, uid, gid: 0, xattrs: [] });
  const regular = (content: string, mode = 0o755): Buffer =>
    encodeRecord({ type: "f", mode, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: recordDigest(Buffer.from(content)) });

  it("is an empty file, of mode 0755 or as newer runc makes it of 0644, or a directory of mode 0755 at declared targets and their parents", () => {
    for (const path of ["data", "data/x", "vol", "work"]) expect(made.has(Buffer.from(path), entry("d"))).toBe(true);
    for (const mode of [0o755, 0o644]) expect(made.has(Buffer.from("data/x"), regular("", mode))).toBe(true);
  });

  it("is nothing else", () => {
    expect(made.has(Buffer.from("data"), regular(""))).toBe(false);
    expect(made.has(Buffer.from("work"), regular(""))).toBe(false);
    expect(made.has(Buffer.from("data/x"), regular("evil"))).toBe(false);
    for (const mode of [0o4755, 0o600, 0o666, 0o664]) expect(made.has(Buffer.from("data/x"), regular("", mode))).toBe(false);
    expect(made.has(Buffer.from("data/x"), entry("d", 0o777))).toBe(false);
    expect(made.has(Buffer.from("data/x"), entry("d", 0o755, 1))).toBe(false);
    expect(made.has(Buffer.from("data/x"), entry("p"))).toBe(false);
    expect(made.has(Buffer.from("data/y"), entry("d"))).toBe(false);
    expect(made.has(Buffer.from("etc/hosts"), regular(""))).toBe(false);
  });

  it("has two possible init layers, which show the same", () => {
    const [plain, opaque] = [dockerInitLayer(image), dockerInitLayer(image, true)];
    expect(plain.root).not.toEqual(opaque.root);
    const view = (init: LayerTree): string[] =>
      [...MergedTree.of([tree, init]).entries()].map(({ path, record: encoded }) => `${path.toString()} ${encoded.toString("hex")}`).sort();
    expect(view(plain)).toEqual(view(opaque));
  });
});
