/**
 * Writes record.json, path.json and tree.json: `node test/vectors/tree-write.ts`. Bytes are put together here from the definitions in
 * proto/codec alone, without its code, so that the vectors check both implementations.
 */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";

const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const u32 = (value: number): Buffer => Buffer.from([value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff]);
const u64 = (value: bigint): Buffer => Buffer.concat([u32(Number(value >> 32n)), u32(Number(value & 0xffff_ffffn))]);
const field = (value: Buffer): Buffer => Buffer.concat([u32(value.length), value]);
const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");
/** Hex, or `61*3` for 616161. */
const bytes = (notation: string): Buffer => {
  const [unit = "", times = "1"] = notation.split("*");
  return Buffer.from(unit.repeat(Number(times)), "hex");
};

interface Entry {
  readonly name: string;
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of a file that can be made; else size and digest are given. */
  readonly contentHex?: string;
  readonly size?: string;
  readonly sha256?: string;
  readonly targetHex?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly opaque?: boolean;
  /** Name in text, value in hex; ascending. */
  readonly xattrs: readonly (readonly [string, string])[];
  /** False: no filesystem holds it, only the codec is checked. */
  readonly canBeMade: boolean;
}

function record(entry: Entry): Buffer {
  const content = entry.contentHex === undefined ? undefined : bytes(entry.contentHex);
  const body: Buffer[] = [];
  if (entry.type === "f") body.push(u64(BigInt(entry.size ?? content?.length ?? 0)), entry.sha256 ? Buffer.from(entry.sha256, "hex") : sha256(content ?? Buffer.alloc(0)));
  if (entry.type === "l") body.push(field(Buffer.from(entry.targetHex ?? "", "hex")));
  if (entry.type === "c" || entry.type === "b") body.push(u32(entry.major ?? 0), u32(entry.minor ?? 0));
  if (entry.type === "d") body.push(Buffer.from([entry.opaque ? 1 : 0]));
  const xattrs = entry.xattrs.map(([name, value]) => Buffer.concat([field(Buffer.from(name)), field(Buffer.from(value, "hex"))]));
  return Buffer.concat([Buffer.from([1, entry.type.charCodeAt(0)]), u16(entry.mode), u32(entry.uid), u32(entry.gid), ...body, u32(xattrs.length), ...xattrs]);
}

const made = (name: string, type: string, mode: number, more: Partial<Entry> = {}): Entry => ({ name, type, mode, uid: 0, gid: 0, xattrs: [], canBeMade: true, ...more });
const text = (value: string): string => hex(Buffer.from(value));
/** VFS capability v2: cap_net_raw effective and permitted. */
const NET_RAW = "0100000200200000000000000000000000000000";

const ENTRIES: readonly Entry[] = [
  made("an empty file", "f", 0o644, { contentHex: "" }),
  made("a setuid file of another owner", "f", 0o4755, { contentHex: text("#!/bin/sh\n"), uid: 1000, gid: 65534 }),
  made("a file with a capability", "f", 0o755, { contentHex: text("ping"), xattrs: [["security.capability", NET_RAW]] }),
  made("a file with two overlay attributes", "f", 0o600, { contentHex: "00ff", xattrs: [["trusted.overlay.metacopy", ""], ["trusted.overlay.redirect", text("/else")]] }),
  made("a file of one block", "f", 0o644, { contentHex: "61*64" }),
  made("a file of 200,000 bytes", "f", 0o400, { contentHex: "62*200000" }),
  made("a directory", "d", 0o755, { opaque: false }),
  made("a sticky, opaque directory", "d", 0o1777, { opaque: true }),
  made("a directory opaque in another way", "d", 0o755, { opaque: false, xattrs: [["trusted.overlay.opaque", text("x")]] }),
  made("a symlink", "l", 0o777, { targetHex: text("/usr/bin/env") }),
  made("a symlink to bytes that are not UTF-8", "l", 0o777, { targetHex: "fffe0a80", uid: 7 }),
  made("a character device", "c", 0o666, { major: 1, minor: 3 }),
  made("a block device with a large minor number", "b", 0o660, { major: 259, minor: 70000 }),
  made("a FIFO", "p", 0o640),
  made("a whiteout", "w", 0),
  made("a socket", "s", 0o755, { canBeMade: false }),
  made("the largest file and ids", "f", 0o7777, { size: "9223372036854775807", sha256: "ab".repeat(32), uid: 0xffff_ffff, gid: 0xffff_ffff, canBeMade: false }),
  made("an empty target", "l", 0o777, { targetHex: "", canBeMade: false }),
];

const FILE = record(ENTRIES[0] as Entry);
const patched = (at: number, ...bytes: number[]): Buffer => {
  const copy = Buffer.from(FILE);
  copy.set(bytes, at);
  return copy;
};
const withXattrs = (...names: string[]): Buffer =>
  Buffer.concat([FILE.subarray(0, -4), u32(names.length), ...names.map((name) => Buffer.concat([field(Buffer.from(name)), field(Buffer.alloc(0))]))]);
const INVALID: readonly (readonly [string, Buffer, string])[] = [
  ["nothing", Buffer.alloc(0), "TRUNCATED"],
  ["version 2", patched(0, 2), "BAD_VERSION"],
  ["an unknown type", patched(1, 0x78), "BAD_TYPE"],
  ["a mode above 07777", patched(2, 0x10), "OUT_OF_RANGE"],
  ["a size of 2^63", patched(12, 0x80), "OUT_OF_RANGE"],
  ["one byte short", FILE.subarray(0, -1), "TRUNCATED"],
  ["one byte more", Buffer.concat([FILE, Buffer.of(0)]), "TRAILING_BYTES"],
  ["xattrs out of order", withXattrs("b", "a"), "BAD_ORDER"],
  ["an xattr twice", withXattrs("a", "a"), "BAD_ORDER"],
  ["an xattr without a name", withXattrs(""), "BAD_ORDER"],
  ["65 xattrs", withXattrs(...Array.from({ length: 65 }, (_, i) => `n${String(i).padStart(2, "0")}`)), "TOO_LONG"],
  ["an xattr name of 256 bytes", withXattrs("n".repeat(256)), "TOO_LONG"],
  ["a target of 4,097 bytes", record(made("", "l", 0o777, { targetHex: "61".repeat(4097) })), "TOO_LONG"],
  ["an opaque flag of 2", Buffer.from(hex(record(ENTRIES[6] as Entry)).replace(/00(00000000)$/, "02$1"), "hex"), "OUT_OF_RANGE"],
  ["a whiteout with a mode", record(made("", "w", 0o644)), "OUT_OF_RANGE"],
  ["a whiteout with an owner", record(made("", "w", 0, { uid: 1 })), "OUT_OF_RANGE"],
];

const PATHS: readonly (readonly [string, string | null])[] = [
  [text("a"), null],
  [text("etc/passwd"), null],
  [text("..."), null],
  [text(".hidden/..x"), null],
  ["ff80/0a1b".replace("/", "2f"), null],
  ["61*65536", null],
  ["", "BAD_PATH"],
  [text("/a"), "BAD_PATH"],
  [text("a/"), "BAD_PATH"],
  [text("a//b"), "BAD_PATH"],
  [text("."), "BAD_PATH"],
  [text("a/./b"), "BAD_PATH"],
  [text(".."), "BAD_PATH"],
  [text("a/.."), "BAD_PATH"],
  ["610062", "BAD_PATH"],
  ["61*65537", "TOO_LONG"],
];

const bit = (key: Buffer, index: number): number => ((key[index >> 3] as number) >> (7 - (index & 7))) & 1;

/** The root of the leaves whose keys agree in their first `from` bits, straight from the definition. */
function root(leaves: readonly (readonly [Buffer, Buffer])[], from = 0): Buffer {
  const [first] = leaves;
  if (!first) return sha256(Buffer.of(2));
  if (leaves.length === 1) return sha256(Buffer.of(0), first[0], sha256(first[1]));
  let bits = from;
  while (leaves.every(([key]) => bit(key, bits) === bit(first[0], bits))) bits++;
  const prefix = Buffer.alloc((bits + 7) >> 3);
  for (let i = 0; i < bits; i++) if (bit(first[0], i)) prefix[i >> 3] = (prefix[i >> 3] as number) | (0x80 >> (i & 7));
  const side = (wanted: number): Buffer =>
    root(
      leaves.filter(([key]) => bit(key, bits) === wanted),
      bits,
    );
  return sha256(Buffer.of(1), u16(bits), prefix, side(0), side(1));
}

function tree(name: string, paths: readonly (readonly [string, Entry])[]): object {
  const entries = paths.map(([pathHex, entry]) => ({ pathHex, record: hex(record(entry)), entry: entry.name }));
  return { name, entries, root: hex(root(paths.map(([pathHex, entry]) => [sha256(Buffer.from(pathHex, "hex")), record(entry)]))) };
}

const directory = ENTRIES[6] as Entry;
const file = ENTRIES[1] as Entry;
const canBeMade = ENTRIES.filter((entry) => entry.canBeMade);
const TREES = [
  tree("nothing", []),
  tree("one leaf", [[text("a"), file]]),
  tree("two leaves", [
    [text("a"), file],
    [text("b"), directory],
  ]),
  tree("every entry that can be made", canBeMade.map((entry, i) => [text(`entry-${i}`), entry])),
  tree("names of any bytes", [
    ["ff80", directory],
    ["ff802f0a", file],
    [text("\u001b[31m"), file],
  ]),
  tree("a hundred files in directories", [
    ...Array.from({ length: 10 }, (_, i) => [text(`d${i}`), directory] as const),
    ...Array.from({ length: 100 }, (_, i) => [text(`d${i % 10}/f${i}`), canBeMade[i % 2] as Entry] as const),
  ]),
];

function write(name: string, value: object): void {
  writeFileSync(new URL(name, import.meta.url), `${JSON.stringify(value, null, 1)}\n`);
}

const source = "Written by tree-write.ts from the definitions in proto/codec/record.ts, path.ts and tree.ts. Bytes are hex; 61*3 is 616161.";
write("record.json", {
  source,
  records: ENTRIES.map((entry) => ({ ...entry, record: hex(record(entry)), digest: hex(sha256(record(entry))) })),
  invalid: INVALID.map(([name, bytes, code]) => ({ name, bytes: hex(bytes), code })),
});
write("path.json", { source, paths: PATHS.map(([pathHex, error]) => ({ pathHex, key: hex(sha256(bytes(pathHex))), error })) });
write("tree.json", { source, trees: TREES });
