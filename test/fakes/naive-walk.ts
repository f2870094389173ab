/**
 * Reads a layer directory the plainest way and encodes the record of each entry: the oracle for replay and for the native
 * measurer. Names are raw bytes; each directory is entered by file descriptor, so that no path is too long.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { type BigIntStats, closeSync, constants, lstatSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { type EntryRecord, encodeRecord, type Xattr } from "@hullmark/proto/codec";

const MEASURED = /^(security\.capability|system\.posix_acl_(access|default)|trusted\.overlay\.(opaque|redirect|metacopy|whiteout))$/;

// One line an xattr: number of the tree, then path, name and value in hex. Python is used for lgetxattr alone.
const LIST_XATTRS = `
import os, sys
def walk(fd, prefix):
    for name in os.listdir(fd):
        name = os.fsencode(name)
        path = b"/proc/self/fd/%d/" % fd + name
        try: keys = os.listxattr(path, follow_symlinks=False)
        except FileNotFoundError: continue
        for key in keys:
            try: value = os.getxattr(path, key, follow_symlinks=False)
            except OSError: continue
            print(tree, (prefix + name).hex(), os.fsencode(key).hex(), value.hex() or "-")
        try: below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        except OSError: continue
        walk(below, prefix + name + b"/")
        os.close(below)
sys.setrecursionlimit(10000)
for tree, directory in enumerate(sys.argv[1:]):
    walk(os.open(directory, os.O_RDONLY | os.O_DIRECTORY), b"")
`;

export interface WalkedEntry {
  /** Raw bytes relative to the directory. */
  readonly path: Buffer;
  readonly record: EntryRecord;
  readonly encoded: Buffer;
}

/** Every entry below a directory, in no particular order; the directory itself is not among them. Root is needed to see trusted xattrs. */
export function naiveWalk(directory: string): WalkedEntry[] {
  return naiveWalks([directory])[0] ?? [];
}

/** {@link naiveWalk} of several directories; starts one helper process for all. */
export function naiveWalks(directories: readonly string[]): WalkedEntry[][] {
  const xattrs = readXattrs(directories);
  return directories.map((directory, tree) => walk(directory, (path) => xattrs.get(`${tree} ${path.toString("latin1")}`) ?? []));
}

function walk(directory: string, xattrsOf: (path: Buffer) => Xattr[]): WalkedEntry[] {
  const entries: WalkedEntry[] = [];
  const visit = (fd: number, prefix: Buffer): void => {
    for (const name of readdirSync(`/proc/self/fd/${fd}`, { encoding: "buffer" })) {
      const path = Buffer.concat([prefix, name]);
      const handle = Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), name]);
      // A mounted overlay lists whiteouts of directories that only one layer has, and does not find them.
      if (lstatSync(handle, { throwIfNoEntry: false }) === undefined) continue;
      const record = readRecord(handle, xattrsOf(path));
      entries.push({ path, record, encoded: encodeRecord(record) });
      if (record.type !== "d") continue;
      const below = openSync(handle, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      visit(below, Buffer.concat([path, Buffer.from("/")]));
      closeSync(below);
    }
  };
  const root = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  visit(root, Buffer.alloc(0));
  closeSync(root);
  return entries;
}

function readXattrs(directories: readonly string[]): Map<string, Xattr[]> {
  const run = spawnSync("python3", ["-c", LIST_XATTRS, ...directories], { encoding: "latin1", maxBuffer: 1 << 28 });
  if (run.status !== 0) throw new Error(`reading xattrs of ${directories.join(" ")}: ${run.stderr}`);
  const found = new Map<string, Xattr[]>();
  for (const line of run.stdout.split("\n").filter((each) => each !== "")) {
    const [tree = "", path = "", name = "", value = ""] = line.split(" ");
    const key = `${tree} ${Buffer.from(path, "hex").toString("latin1")}`;
    const xattr = { name: Buffer.from(name, "hex"), value: value === "-" ? Buffer.alloc(0) : Buffer.from(value, "hex") };
    if (!MEASURED.test(xattr.name.toString("latin1"))) continue;
    found.set(
      key,
      [...(found.get(key) ?? []), xattr].sort((a, b) => Buffer.compare(a.name, b.name)),
    );
  }
  return found;
}

function readRecord(handle: Buffer, xattrs: Xattr[]): EntryRecord {
  const stat = lstatSync(handle, { bigint: true });
  const common = { mode: Number(stat.mode) & 0o7777, uid: Number(stat.uid), gid: Number(stat.gid), xattrs };
  switch (Number(stat.mode) & constants.S_IFMT) {
    case constants.S_IFREG:
      return { type: "f", ...common, size: stat.size, sha256: hashFile(handle) };
    case constants.S_IFDIR: {
      const opaque = xattrs.find(({ name, value }) => name.equals(Buffer.from("trusted.overlay.opaque")) && value.equals(Buffer.from("y")));
      return { type: "d", ...common, xattrs: xattrs.filter((each) => each !== opaque), opaque: opaque !== undefined };
    }
    case constants.S_IFLNK:
      return { type: "l", ...common, target: readlinkSync(handle, { encoding: "buffer" }) };
    case constants.S_IFCHR:
      return stat.rdev === 0n ? { type: "w", mode: 0, uid: 0, gid: 0, xattrs: [] } : { type: "c", ...common, ...device(stat) };
    case constants.S_IFBLK:
      return { type: "b", ...common, ...device(stat) };
    case constants.S_IFIFO:
      return { type: "p", ...common };
    default:
      return { type: "s", ...common };
  }
}

/** makedev(3) undone. */
function device(stat: BigIntStats): { major: number; minor: number } {
  const { rdev } = stat;
  return { major: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn)), minor: Number((rdev & 0xffn) | ((rdev >> 12n) & ~0xffn)) };
}

function hashFile(handle: Buffer): Buffer {
  const fd = openSync(handle, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const hash = createHash("sha256");
  const buffer = Buffer.alloc(1 << 16);
  for (let bytes = readSync(fd, buffer); bytes > 0; bytes = readSync(fd, buffer)) hash.update(buffer.subarray(0, bytes));
  closeSync(fd);
  return hash.digest();
}
