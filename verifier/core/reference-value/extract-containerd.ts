/**
 * containerd's archive.Apply as the overlayfs snapshotter's applier calls it (1.6; also behind Docker's containerd image store).
 * A layer with others below is applied with overlay whiteouts; the bottom layer is a bind mount and applied naively: a whiteout
 * there removes. Each step follows the extractor's order of system calls.
 */
import { ExtractFs } from "./extract-fs.ts";
import type { Extractor } from "./extractor.ts";
import { base, clean, dir, join, split } from "./go-path.ts";
import { chmod, chown, type Inode, setxattr } from "./inode.ts";
import { bytesOf, latin1 } from "./latin1.ts";
import type { LayerTree } from "./layer-tree.ts";
import { lstatLower } from "./lower-layer.ts";
import { makeNode, makeWhiteout, markOpaque, OPAQUE_MARKER, WHITEOUT_PREFIX } from "./make-entry.ts";
import { Refusal, succeed } from "./refusal.ts";
import { rootPath } from "./root-path.ts";
import { XATTR_PREFIX } from "./tar-pax.ts";
import type { TarEntry } from "./tar-reader.ts";

const UMASK = 0o022;

export class ContainerdExtractor implements Extractor {
  readonly fs = new ExtractFs("outside", UMASK, 0);
  /** Nearest first. */
  readonly #lower: readonly LayerTree[];
  readonly #unpacked = new Set<string>();
  readonly #directories: string[] = [];
  readonly #resolved = new Map<string, string>();
  #generation = 0;

  /** @param lower bottom first */
  constructor(lower: readonly LayerTree[]) {
    this.#lower = lower.toReversed();
  }

  apply(entry: TarEntry): void {
    const name = clean(entry.name);
    const [above, last] = split(name);
    const parent = this.#rootPath(above);
    const path = join(parent, join("/", last));
    if (path === "/") return;
    if (parent !== "/") this.#ensureParent(parent);
    checkWhiteoutName(path);
    if (this.#whiteout(path, entry)) return;
    const there = this.fs.lstat(path);
    if (typeof there !== "string" && !(there.type === "d" && entry.typeflag === "5")) this.#remove(path);
    if (entry.typeflag !== "g") this.#create(path, entry);
    if (entry.typeflag === "5") this.#directories.push(name);
    this.#unpacked.add(path);
  }

  /** Times of directories are set last, by name: one that is gone stops the extraction. */
  finish(): void {
    for (const name of this.#directories) {
      const path = this.#rootPath(name);
      succeed(this.fs.lstat(path), "utimes", path);
    }
  }

  #whiteout(path: string, entry: TarEntry): boolean {
    const last = base(path);
    const opaque = last === OPAQUE_MARKER;
    if (!opaque && !last.startsWith(WHITEOUT_PREFIX)) return false;
    const hidden = join(dir(path), last.slice(WHITEOUT_PREFIX.length));
    if (this.#lower.length > 0) {
      if (opaque) markOpaque(this.fs, dir(path));
      else makeWhiteout(this.fs, hidden, entry);
    } else if (opaque) this.#clear(dir(path));
    else this.#remove(hidden);
    return true;
  }

  /** A naive opaque marker removes what this layer did not unpack, with everything below it. */
  #clear(path: string): void {
    const inode = succeed(this.fs.lstat(path), "lstat", path);
    for (const name of [...(inode.children?.keys() ?? [])]) {
      const child = join(path, name);
      if (this.#unpacked.has(child)) this.#clear(child);
      else this.#remove(child);
    }
  }

  #remove(path: string): void {
    const failed = this.fs.removeAll(path);
    if (failed && failed !== "ENOENT") succeed(failed, "remove", path);
  }

  #create(path: string, entry: TarEntry): void {
    const inode = entry.typeflag === "1" ? succeed(this.fs.link(this.#linkTarget(entry.linkname), path), "link", path) : makeNode(this.fs, path, entry);
    inode.implied = false;
    chown(inode, entry.uid, entry.gid);
    for (const [key, value] of entry.pax) {
      if (key.startsWith(XATTR_PREFIX)) this.#setXattr(inode, path, key.slice(XATTR_PREFIX.length), bytesOf(value));
    }
    if (inode.type !== "l") chmod(inode, entry.mode);
  }

  #linkTarget(linkname: string): string {
    const [above, last] = split(linkname);
    return join(this.#rootPath(above), last);
  }

  #setXattr(inode: Inode, path: string, name: string, value: Buffer): void {
    if (name.startsWith("trusted.")) return;
    const failed = setxattr(inode, name, value);
    if (!failed || failed === "ENOTSUP" || (failed === "EPERM" && name.startsWith("user."))) return;
    succeed(failed, "setxattr", path);
  }

  /** mkparent: each missing directory takes the metadata of the nearest lower layer that has the path. */
  #ensureParent(path: string): void {
    const there = this.fs.lstat(path);
    if (typeof there !== "string" && there.type === "d") return;
    if (there !== "ENOENT") succeed(typeof there === "string" ? there : "ENOTDIR", "mkparent", path);
    const above = dir(path);
    if (above !== "/") this.#ensureParent(above);
    const inode = succeed(this.fs.create(path, { type: "d", mode: 0o755 }), "mkdir", path);
    inode.implied = true;
    chmod(inode, 0o755);
    for (const layer of this.#lower) {
      const resolved = rootPath((each) => linkIn(layer, each), path);
      const record = resolved === "/" ? "EHOST" : lstatLower(layer, resolved);
      if (record === "ENOENT") continue;
      if (typeof record === "string") succeed(record, "lstat in a lower layer", path);
      else if (record.type === "d") {
        chown(inode, record.uid, record.gid);
        chmod(inode, record.mode);
        for (const { name, value } of record.xattrs) this.#setXattr(inode, path, latin1(name), value);
      }
      return;
    }
  }

  #rootPath(path: string): string {
    if (this.#generation !== this.fs.generation) {
      this.#resolved.clear();
      this.#generation = this.fs.generation;
    }
    const known = this.#resolved.get(path);
    if (known !== undefined) return known;
    const resolved = rootPath((each) => {
      const inode = this.fs.lstat(each);
      if (typeof inode === "string") return { errno: inode };
      return inode.type === "l" ? inode.target : null;
    }, path);
    this.#resolved.set(path, resolved);
    return resolved;
  }
}

function linkIn(layer: LayerTree, path: string): ReturnType<Parameters<typeof rootPath>[0]> {
  const record = lstatLower(layer, path);
  if (typeof record === "string") return { errno: record };
  return record.type === "l" ? latin1(record.target) : null;
}

/** `.wh.`, `.wh..` and `.wh...` would hide the directory itself or its parent. */
function checkWhiteoutName(path: string): void {
  const last = base(path);
  if (last === OPAQUE_MARKER || !last.startsWith(WHITEOUT_PREFIX)) return;
  const hidden = last.slice(WHITEOUT_PREFIX.length);
  if (hidden === "" || hidden === "." || hidden === "..") throw new Refusal("REFUSED", `invalid whiteout name ${JSON.stringify(last)}`);
}
