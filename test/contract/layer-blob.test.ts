/** A layer as registries hold it: whatever its compression the same tree, and every byte is the one that the manifest and the config name. */
import { gzipSync, zstdCompressSync } from "node:zlib";
import { type LayerIdentity, replayBlob, replayLayer } from "@hullmark/verifier/core/reference-value/index";
import { describe, expect, test } from "vitest";
import { estargzFooter, sha256 } from "../fakes/images.ts";
import { directory, entry, file, tar } from "../fakes/tar-writer.ts";

const OPTIONS = { dialect: "containerd", lower: [] } as const;
const ENTRIES = [directory("etc"), file("etc/app.conf", "port=8\n"), file("bin/app", Buffer.alloc(70_000, "code"), { mode: 0o755 })];
const PLAIN = tar(...ENTRIES);
/** zstd's skippable frame: zstd:chunked keeps its index there. */
const SKIPPABLE = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]);

const digestOf = (bytes: Buffer) => `sha256:${sha256(bytes).replace(/^sha256:/, "")}`;

async function* inChunks(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function replay(blob: Buffer, content: Buffer, chunk = 4096, more: Partial<LayerIdentity> = {}) {
  return replayBlob(inChunks(blob, chunk), { digest: digestOf(blob), size: blob.length, diffId: digestOf(content), ...more }, OPTIONS);
}

/** The tree's root; of a layer that is refused, why. */
async function rootOf(reference: ReturnType<typeof replay>): Promise<string> {
  const found = await reference;
  return "unextractable" in found ? JSON.stringify(found.unextractable) : found.root.toString("hex");
}

function estargz(): { readonly blob: Buffer; readonly content: Buffer } {
  const index = file("stargz.index.json", '{"version":1,"entries":[]}');
  const parts = [...ENTRIES.map(entry), tar(index)];
  const members = parts.map((part) => gzipSync(part));
  const offset = members.slice(0, -1).reduce((sum, { length }) => sum + length, 0);
  return { blob: Buffer.concat([...members, estargzFooter(offset)]), content: Buffer.concat(parts) };
}

describe("one tree", () => {
  const expected = replayLayer([PLAIN], OPTIONS).then(({ reference }) => rootOf(Promise.resolve(reference)));
  const frames = [PLAIN.subarray(0, 1000), PLAIN.subarray(1000)];
  test.each<[string, Buffer]>([
    ["uncompressed", PLAIN],
    ["gzip", gzipSync(PLAIN)],
    ["gzip of several members", Buffer.concat(frames.map((part) => gzipSync(part)))],
    ["zstd", zstdCompressSync(PLAIN)],
    ["zstd of several frames, skippable ones between", Buffer.concat([SKIPPABLE, ...frames.flatMap((part) => [zstdCompressSync(part), SKIPPABLE])])],
  ])("%s, in whatever pieces it arrives", async (_, blob) => {
    expect(await expected).toMatch(/^[0-9a-f]{64}$/);
    for (const size of [1, 7, 4096, blob.length]) expect(await rootOf(replay(blob, PLAIN, size))).toBe(await expected);
  });

  test("eStargz: a member for each file, with the index as a file of the layer", async () => {
    const { blob, content } = estargz();
    const whole = await rootOf(replay(content, content));
    expect(whole).not.toBe(await expected);
    expect(whole).toMatch(/^[0-9a-f]{64}$/);
    for (const size of [3, blob.length]) expect(await rootOf(replay(blob, content, size))).toBe(whole);
  });
});

describe("refused", () => {
  const changed = (bytes: Buffer, at: number) => Buffer.from(bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)));
  test.each<[string, Buffer]>([
    ["gzip that breaks off", gzipSync(PLAIN).subarray(0, -9)],
    ["zstd that breaks off", zstdCompressSync(PLAIN).subarray(0, -3)],
    ["bytes after gzip", Buffer.concat([gzipSync(PLAIN), Buffer.from("more")])],
    ["bytes after zstd", Buffer.concat([zstdCompressSync(PLAIN), Buffer.from("more")])],
    ["gzip with another checksum", changed(gzipSync(PLAIN), gzipSync(PLAIN).length - 8)],
    ["bzip2", Buffer.from("BZh91AY&SY and so on")],
    ["xz", Buffer.from("\xfd7zXZ\0 and so on", "latin1")],
  ])("%s", async (_, blob) => {
    for (const size of [5, blob.length]) expect(await replay(blob, PLAIN, size)).toMatchObject({ unextractable: { code: "BAD_COMPRESSION" } });
  });

  test("a blob that is not the manifest's, whatever else is wrong with it: it says nothing of the layer", async () => {
    const blob = gzipSync(PLAIN);
    const code = async (bytes: Buffer, more: Partial<LayerIdentity> = {}) => (await replay(bytes, PLAIN, 512, more)) as unknown;
    const mismatch = { unextractable: { code: "BLOB_MISMATCH" } };
    for (const digest of [digestOf(PLAIN), digestOf(Buffer.of())]) expect(await code(blob, { digest })).toMatchObject(mismatch);
    for (const by of [-1, 1]) expect(await code(blob, { size: blob.length + by })).toMatchObject(mismatch);
    expect(await code(blob.subarray(0, -9), { digest: digestOf(blob), size: blob.length })).toMatchObject(mismatch);
  });

  test("content that is not the config's", async () => {
    expect(await replay(gzipSync(PLAIN), tar(file("etc/app.conf", "port=9\n")))).toMatchObject({ unextractable: { code: "DIFF_ID_MISMATCH" } });
  });
});
