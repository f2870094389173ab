/** The published vectors of records, paths and trees, read by both implementations: the codec, and the native measurer on a filesystem. */
import { execFileSync } from "node:child_process";
import { chmodSync, lchownSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { LiveTree } from "@hullmark/native";
import { assertPath, decodeRecord, encodeRecord, PatriciaTree, pathKey, recordDigest } from "@hullmark/proto/codec";
import { describe, expect, onTestFinished, test } from "vitest";
import { scratch } from "../native/tree-support.ts";

interface RecordVector {
  name: string;
  type: string;
  mode: number;
  uid: number;
  gid: number;
  contentHex?: string;
  targetHex?: string;
  major?: number;
  minor?: number;
  opaque?: boolean;
  xattrs: [string, string][];
  canBeMade: boolean;
  record: string;
  digest: string;
}
const read = <T>(name: string): T => JSON.parse(readFileSync(new URL(name, import.meta.url), "utf8")) as T;
const { records, invalid } = read<{ records: RecordVector[]; invalid: { name: string; bytes: string; code: string }[] }>("record.json");
const { paths } = read<{ paths: { pathHex: string; key: string; error: string | null }[] }>("path.json");
const { trees } = read<{ trees: { name: string; root: string; entries: { pathHex: string; record: string; entry: string }[] }[] }>("tree.json");
/** Hex, or `61*3` for 616161. */
const bytes = (notation: string) => {
  const [unit = "", times = "1"] = notation.split("*");
  return Buffer.from(unit.repeat(Number(times)), "hex");
};

/** Makes the entry of a vector at a path. */
function make(root: string, pathHex: string, vector: RecordVector): void {
  const path = Buffer.concat([Buffer.from(`${root}/`), bytes(pathHex)]);
  const shell = (...args: (string | Buffer)[]) => execFileSync(args[0] as string, args.slice(1) as string[]);
  if (vector.type === "f") writeFileSync(path, bytes(vector.contentHex ?? ""));
  else if (vector.type === "d") mkdirSync(path);
  else if (vector.type === "l") symlinkSync(bytes(vector.targetHex ?? ""), path);
  else if (vector.type === "w") shell("mknod", path, "c", "0", "0");
  else if (vector.type === "p") shell("mkfifo", path);
  else shell("mknod", path, vector.type, String(vector.major), String(vector.minor));
  if (vector.type === "w") return;
  lchownSync(path, vector.uid, vector.gid);
  if (vector.type !== "l") chmodSync(path, vector.mode);
  const xattrs = vector.opaque ? [...vector.xattrs, ["trusted.overlay.opaque", "79"] as const] : vector.xattrs;
  for (const [name, value] of xattrs) shell("setfattr", "-h", "-n", name, "-v", `0x${value}`, path);
}

describe("records", () => {
  test.for(records)("$name: decoded and encoded again, the same bytes", ({ record, digest, type, mode, uid, gid }) => {
    const decoded = decodeRecord(bytes(record));
    expect(decoded).toMatchObject({ type, mode, uid, gid });
    expect(encodeRecord(decoded).toString("hex")).toBe(record);
    expect(recordDigest(bytes(record)).toString("hex")).toBe(digest);
  });

  test.for(invalid)("refused: $name", ({ bytes: hex, code }) => {
    expect(() => decodeRecord(bytes(hex))).toThrow(expect.objectContaining({ code }));
  });

  test("every entry that can be made has its record on a filesystem", async () => {
    const root = scratch();
    const possible = records.filter(({ canBeMade }) => canBeMade);
    for (const [i, vector] of possible.entries()) make(root, Buffer.from(`e${i}`).toString("hex"), vector);
    using tree = new LiveTree(root);
    await tree.measure();
    const measured = possible.map(({ name }, i) => [name, tree.get(Buffer.from(`e${i}`))?.toString("hex")]);
    expect(measured).toEqual(possible.map(({ name, record }) => [name, record]));
  });
});

test.for(paths)("path $pathHex", ({ pathHex, key, error }) => {
  if (error) expect(() => assertPath(bytes(pathHex))).toThrow(expect.objectContaining({ code: error }));
  else expect(() => assertPath(bytes(pathHex))).not.toThrow();
  expect(pathKey(bytes(pathHex)).toString("hex")).toBe(key);
});

test.for(trees)("tree: $name", async ({ entries, root }) => {
  const patricia = new PatriciaTree();
  for (const { pathHex, record } of entries) patricia.set(pathKey(bytes(pathHex)), recordDigest(bytes(record)));
  expect(patricia.root().toString("hex")).toBe(root);
  const directory = scratch();
  for (const { pathHex, entry } of entries) make(directory, pathHex, records.find(({ name }) => name === entry) as RecordVector);
  const tree = new LiveTree(directory);
  onTestFinished(() => tree.close());
  await tree.measure();
  expect(tree.root().toString("hex")).toBe(root);
});
