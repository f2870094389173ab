/** What the tests of the tree measurer share: scratch directories, odd entries, and a naive measurer that serves as the oracle. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { type BigIntStats, lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EntryRecord, encodeRecord, PatriciaTree, pathKey, recordDigest, WHITEOUT, type Xattr } from "@hullmark/proto/codec";
import { onTestFinished } from "vitest";

/** A directory that goes away with the test, however deep it became. */
export function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), "hullmark-tree-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: "latin1", stdio: ["ignore", "pipe", "pipe"] });
}

/**
 * Runs a bash script in a mount namespace of its own; `$NODE` in it runs this Node. A preloaded sanitizer is kept from `unshare`, which must
 * have one thread only, and given back to Node.
 */
export function inMountNamespace(script: string, ...args: readonly string[]): string {
  const preload = process.env["LD_PRELOAD"] ?? "";
  const NODE = `env ${preload && `LD_PRELOAD=${preload}`} ${process.execPath}`;
  return execFileSync("env", ["-u", "LD_PRELOAD", "unshare", "-m", "bash", "-ec", script, "bash", ...args], {
    encoding: "utf8",
    env: { ...process.env, NODE },
  });
}

const MEASURED = /^(security\.capability|system\.posix_acl_(access|default)|trusted\.overlay\.(opaque|redirect|metacopy|whiteout))$/;

/** Measured xattrs as `getfattr` sees them. */
function xattrsOf(path: Buffer): Xattr[] {
  const output = execFileSync("getfattr", ["-h", "-d", "-m", "-", "-e", "hex", "--absolute-names", "--", path as unknown as string], { encoding: "latin1" });
  return output
    .split("\n")
    .map((line) => /^([a-z_.]+)=0x([0-9a-f]*)$/.exec(line))
    .filter((match) => match !== null && MEASURED.test(match[1] as string))
    .map((match) => ({ name: Buffer.from(match?.[1] as string), value: Buffer.from(match?.[2] as string, "hex") }))
    .sort((a, b) => Buffer.compare(a.name, b.name));
}

export interface NaiveOptions {
  readonly overlayLayer?: boolean;
  /** `getfattr` for each entry: slow. Default false: no entry has measured xattrs. */
  readonly xattrs?: boolean;
}

/** Paths (latin1, so that any bytes survive as a key) to encoded records, by the plainest means there are. Not for trees that change. */
export function naiveRecords(root: string, options: NaiveOptions = {}): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  const todo: Buffer[] = [Buffer.alloc(0)];
  for (let directory = todo.pop(); directory; directory = todo.pop()) {
    for (const name of readdirSync(join2(root, directory), { encoding: "buffer" })) {
      const path = directory.length > 0 ? Buffer.concat([directory, Buffer.from("/"), name]) : name;
      const full = join2(root, path);
      const stat = lstatSync(full, { bigint: true });
      const xattrs = options.xattrs ? xattrsOf(full) : [];
      records.set(path.toString("latin1"), encodeRecord(naiveRecord(full, stat, xattrs, options.overlayLayer ?? true)));
      if (stat.isDirectory()) todo.push(path);
    }
  }
  return records;
}

function join2(root: string, path: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${root}/`), path]);
}

function naiveRecord(full: Buffer, stat: BigIntStats, all: Xattr[], overlayLayer: boolean): EntryRecord {
  const isOpaque = ({ name, value }: Xattr) => name.toString() === "trusted.overlay.opaque" && value.toString() === "y";
  const opaque = overlayLayer && stat.isDirectory() && all.some(isOpaque);
  const xattrs = opaque ? all.filter((xattr) => !isOpaque(xattr)) : all;
  const common = { mode: Number(stat.mode & 0o7777n), uid: Number(stat.uid), gid: Number(stat.gid), xattrs };
  const major = Number(((stat.rdev >> 8n) & 0xfffn) | ((stat.rdev >> 32n) & ~0xfffn));
  const minor = Number((stat.rdev & 0xffn) | ((stat.rdev >> 12n) & ~0xffn));
  if (stat.isFile()) return { ...common, type: "f", size: stat.size, sha256: createHash("sha256").update(readFileSync(full)).digest() };
  if (stat.isDirectory()) return { ...common, type: "d", opaque };
  if (stat.isSymbolicLink()) return { ...common, type: "l", mode: 0o777, target: readlinkSync(full, { encoding: "buffer" }) };
  if (stat.isBlockDevice()) return { ...common, type: "b", major, minor };
  if (stat.isCharacterDevice()) return overlayLayer && stat.rdev === 0n ? WHITEOUT : { ...common, type: "c", major, minor };
  return { ...common, type: stat.isFIFO() ? "p" : "s" };
}

export function treeOf(records: ReadonlyMap<string, Buffer>): PatriciaTree {
  const tree = new PatriciaTree();
  for (const [path, record] of records) tree.set(pathKey(Buffer.from(path, "latin1")), recordDigest(record));
  return tree;
}

export function naiveRoot(root: string, options: NaiveOptions = {}): string {
  return treeOf(naiveRecords(root, options)).root().toString("hex");
}
