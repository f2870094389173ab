/**
 * Docker's overlay2 driver with native diff: pkg/archive Unpack in a chroot of the layer directory, after tar-split
 * (moby 20.10; unchanged in what is seen here up to 28). Each step follows the extractor's order of system calls.
 */
import { ExtractFs } from "./extract-fs.ts";
import type { Extractor } from "./extractor.ts";
import { base, clean, dir, join } from "./go-path.ts";
import { chmod, chown, type Inode, setxattr } from "./inode.ts";
import { bytesOf } from "./latin1.ts";
import { makeNode, makeWhiteout, markOpaque, OPAQUE_MARKER, WHITEOUT_PREFIX } from "./make-entry.ts";
import { Refusal, succeed } from "./refusal.ts";
import { XATTR_PREFIX } from "./tar-pax.ts";
import type { TarEntry } from "./tar-reader.ts";

/** dockerd sets it at start. */
const UMASK = 0o022;

export class DockerExtractor implements Extractor {
  readonly fs = new ExtractFs("chroot", UMASK, 0);
  /** tar-split refuses two entries of one cleaned (not clamped) name, global headers included. */
  readonly #seen = new Set<string>();
  readonly #directories: string[] = [];

  apply(entry: TarEntry): void {
    const name = clean(entry.name);
    if (this.#seen.has(name)) throw new Refusal("REFUSED", `duplicate path ${JSON.stringify(name)}`);
    this.#seen.add(name);
    if (entry.typeflag === "g") return;
    if (!name.endsWith("/")) this.#ensureParent(join("/", dir(name)));
    const path = join("/", name);
    const there = this.fs.lstat(path);
    if (typeof there !== "string") {
      if (there.type === "d" && name === ".") return;
      if (!(there.type === "d" && entry.typeflag === "5")) {
        const failed = this.fs.removeAll(path);
        if (failed) succeed(failed, "remove", path);
      }
    }
    if (this.#whiteout(path, entry)) return;
    this.#create(path, entry);
    if (entry.typeflag === "5") this.#directories.push(path);
  }

  /** Times of directories are set last, by path: one that is gone stops the extraction. */
  finish(): void {
    for (const path of this.#directories) succeed(this.fs.stat(path), "utimes", path);
  }

  #whiteout(path: string, entry: TarEntry): boolean {
    const last = base(path);
    if (last === OPAQUE_MARKER) {
      markOpaque(this.fs, dir(path));
      return true;
    }
    if (!last.startsWith(WHITEOUT_PREFIX)) return false;
    makeWhiteout(this.fs, join(dir(path), last.slice(WHITEOUT_PREFIX.length)), entry);
    return true;
  }

  #create(path: string, entry: TarEntry): void {
    const link = entry.typeflag === "1";
    const inode = link ? succeed(this.fs.link(join("/", entry.linkname), path), "link", path) : makeNode(this.fs, path, entry);
    inode.implied = false;
    chown(inode, entry.uid, entry.gid);
    this.#setXattrs(inode, path, entry);
    if (!link) {
      if (entry.typeflag !== "2") chmod(inode, entry.mode);
      return;
    }
    // The link name is looked up as written, not cleaned: where that fails, the mode stays as chown left it.
    const target = entry.linkname === "" ? "ENOENT" : this.fs.lstat(`/${entry.linkname}`);
    if (typeof target !== "string" && target.type !== "l") chmod(succeed(this.fs.stat(path), "chmod", path), entry.mode);
  }

  #setXattrs(inode: Inode, path: string, entry: TarEntry): void {
    for (const [key, value] of entry.pax) {
      if (!key.startsWith(XATTR_PREFIX) || value === "") continue;
      const failed = setxattr(inode, key.slice(XATTR_PREFIX.length), bytesOf(value));
      if (failed && failed !== "ENOTSUP" && failed !== "EPERM") succeed(failed, "setxattr", path);
    }
  }

  /** idtools.MkdirAllAndChownNew(0755, root) where lstat finds nothing. */
  #ensureParent(path: string): void {
    if (this.fs.lstat(path) !== "ENOENT") return;
    const missing: string[] = [path];
    for (let at = dir(path); at !== "/"; at = dir(at)) {
      if (this.fs.stat(at) === "ENOENT") missing.push(at);
    }
    this.#mkdirAll(path);
    for (const each of missing) {
      const inode = succeed(this.fs.stat(each), "stat", each);
      if ((inode.mode & 0o777) !== 0o755) chmod(inode, 0o755);
      chown(inode, 0, 0);
    }
  }

  /** os.MkdirAll(0755) */
  #mkdirAll(path: string): void {
    const there = this.fs.stat(path);
    if (typeof there !== "string") {
      if (there.type !== "d") succeed("ENOTDIR", "mkdir", path);
      return;
    }
    if (path !== "/") this.#mkdirAll(dir(path));
    const made = this.fs.create(path, { type: "d", mode: 0o755 });
    if (typeof made !== "string") {
      made.implied = true;
      return;
    }
    const found = this.fs.lstat(path);
    if (typeof found === "string" || found.type !== "d") succeed(made, "mkdir", path);
  }
}
