/** What layers and file manifests are read from, under bytes near valid ones: tars, serialised trees, signed predicates. Ten minutes each by `npm run fuzz`. */
import { hash } from "node:crypto";
import { CodecError, encodeRecord } from "@hullmark/proto/codec";
import { ProvenanceError } from "@hullmark/verifier/core/provenance/errors";
import { readFileManifest } from "@hullmark/verifier/core/provenance/file-manifest";
import { LayerReplay, LayerTree } from "@hullmark/verifier/core/reference-value/index";
import fc from "fast-check";
import { expect, it, test } from "vitest";
import { seededRandom } from "../fakes/random-layers.ts";
import { REPLAY_CASES } from "../fakes/replay-cases.ts";
import { FUZZ_SECONDS, fuzz, near } from "./mutate.ts";

const TIMEOUT_MS = FUZZ_SECONDS * 1000 + 60_000;
const target = (name: string, run: () => number): void => it(name, () => expect(run()).toBeGreaterThan(0), TIMEOUT_MS);

target("layer tars: whatever they hold, there is a tree or a reason, the same however the bytes come in", () => {
  const tars = REPLAY_CASES.flatMap(({ layers }) => layers).filter(({ length }) => length <= 64 * 1024);
  const random = seededRandom(7);
  const replayed = (dialect: "docker" | "containerd", ...parts: readonly Buffer[]): string => {
    const replay = new LayerReplay({ dialect, lower: [] });
    for (const part of parts) replay.push(part);
    const { reference, diffId } = replay.finish();
    expect(diffId).toMatch(/^sha256:[0-9a-f]{64}$/);
    return reference instanceof LayerTree ? reference.root.toString("hex") : `${reference.unextractable.code} ${reference.unextractable.reason}`;
  };
  const hold = (bytes: Buffer): void => {
    const at = Math.floor(random() * (bytes.length + 1));
    for (const dialect of ["docker", "containerd"] as const)
      expect(replayed(dialect, bytes.subarray(0, at), bytes.subarray(at))).toBe(replayed(dialect, bytes));
  };
  // There are some hundred of them: a short run would not come to each.
  for (const bytes of tars) hold(bytes);
  return fuzz(near(tars), hold);
});

const record = (size: number): Buffer =>
  encodeRecord({ type: "f", mode: 0o755, uid: 0, gid: 0, xattrs: [], size: BigInt(size), sha256: Buffer.alloc(32, size) });
const leaves = Array.from({ length: 5 }, (_, i) => ({ path: Buffer.from(`usr/bin/tool${i}`), record: record(i), implied: i === 3 }));

target("serialised trees: refused by the codec, or just these bytes", () => {
  return fuzz(near([LayerTree.build(leaves).serialize(), LayerTree.build([]).serialize()]), (bytes) => {
    let tree: LayerTree;
    try {
      tree = LayerTree.deserialize(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(CodecError);
      return;
    }
    expect(tree.serialize()).toEqual(bytes);
    expect(tree.root).toHaveLength(32);
    const entries = [...tree.entries()];
    for (const { path, digest } of entries) expect(tree.get(path)?.digest).toEqual(digest);
    expect(LayerTree.build(entries).root).toEqual(tree.root);
    // From the root down to each entry, one branch after the other.
    for (const { path } of entries) {
      const key = hash("sha256", path, "buffer");
      let at = tree.descend(key, 0);
      while (at.kind === "node") at = tree.descend(key, at.bitlen + 1);
      expect(at).toMatchObject({ kind: "leaf", path });
    }
  });
});

const sized = { digest: `sha256:${"ab".repeat(32)}`, size: 100 };
const tree = { dialect: "docker", version: 1, root: "cd".repeat(32), content: sized, blob: sized };
const manifest = { config: sized.digest, layers: [{ diffId: sized.digest, trees: [tree, { ...tree, dialect: "containerd" }] }] };

target("file manifests: refused, or with every digest and size in its bounds", () => {
  return fuzz(near([Buffer.from(JSON.stringify(manifest))]), (bytes) => {
    let predicate: unknown;
    try {
      predicate = JSON.parse(bytes.toString());
    } catch {
      return;
    }
    if (typeof predicate !== "object" || predicate === null || Array.isArray(predicate)) return;
    try {
      for (const { diffId, trees } of readFileManifest(predicate as Readonly<Record<string, unknown>>).layers)
        for (const { content, blob, root } of trees) {
          for (const digest of [diffId, content.digest, blob.digest]) expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
          expect(root).toMatch(/^[0-9a-f]{64}$/);
          expect(Math.max(content.size, blob.size)).toBeLessThanOrEqual(256 * 1024 * 1024);
        }
    } catch (error) {
      expect(error).toBeInstanceOf(ProvenanceError);
    }
  });
});

test("a planted bug is found in each form: the mutations reach behind the first check", () => {
  const tar = REPLAY_CASES.flatMap(({ layers }) => layers).find(({ length }) => length > 1024) ?? Buffer.alloc(0);
  const rootOf = (bytes: Buffer): string | undefined => {
    const replay = new LayerReplay({ dialect: "docker", lower: [] });
    replay.push(bytes);
    const { reference } = replay.finish();
    return reference instanceof LayerTree ? reference.root.toString("hex") : undefined;
  };
  const tree = LayerTree.build(leaves).serialize();
  const text = Buffer.from(JSON.stringify(manifest));
  /** Takes for the true one whatever can be read. */
  const planted: readonly (readonly [Buffer, (bytes: Buffer) => boolean])[] = [
    [tar, (bytes) => [undefined, rootOf(tar)].includes(rootOf(bytes))],
    [tree, (bytes) => bytes.equals(tree) || readable(() => LayerTree.deserialize(bytes)) === undefined],
    [text, (bytes) => bytes.equals(text) || readable(() => readFileManifest(JSON.parse(bytes.toString()) as Readonly<Record<string, unknown>>)) === undefined],
  ];
  for (const [seed, holds] of planted) expect(fc.check(fc.property(near([seed]), holds), { numRuns: 50_000, seed: 7, endOnFailure: true }).failed).toBe(true);
});

function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
