/** What both dialects do alike with one tar entry once its place is known. */
import type { ExtractFs } from "./extract-fs.ts";
import { chown, type Inode, type NewInode, OPAQUE, setxattr } from "./inode.ts";
import { Refusal, succeed } from "./refusal.ts";
import type { TarEntry } from "./tar-reader.ts";

export const WHITEOUT_PREFIX = ".wh.";
export const OPAQUE_MARKER = ".wh..wh..opq";

/** Linux device numbers keep 12 bits of major and 20 of minor. */
const MAJOR_MASK = 0xfff;
const MINOR_MASK = 0xfffff;

/** Makes a directory (unless one is there), file, symlink, device or FIFO. @throws Refusal */
export function makeNode(fs: ExtractFs, path: string, entry: TarEntry): Inode {
  if (entry.typeflag === "5") {
    const there = fs.lstat(path);
    if (typeof there !== "string" && there.type === "d") return there;
  }
  const made = newInode(entry);
  if (!made) throw new Refusal("REFUSED", `tar entry of unsupported type ${JSON.stringify(entry.typeflag)}`);
  return succeed(fs.create(path, made), "create", path);
}

function newInode(entry: TarEntry): NewInode | undefined {
  const mode = entry.mode & 0o7777;
  const device = { mode, major: entry.devmajor & MAJOR_MASK, minor: entry.devminor & MINOR_MASK };
  switch (entry.typeflag) {
    case "0":
      return { type: "f", mode, size: entry.size, sha256: entry.sha256 };
    case "2":
      return { type: "l", mode, target: entry.linkname };
    case "3":
      return { type: "c", ...device };
    case "4":
      return { type: "b", ...device };
    case "5":
      return { type: "d", mode: mode & 0o1777 };
    case "6":
      return { type: "p", mode };
    default:
      return undefined;
  }
}

/** Marks a directory opaque, through symlinks as setxattr does. @throws Refusal */
export function markOpaque(fs: ExtractFs, path: string): void {
  const inode = succeed(fs.stat(path), "setxattr", path);
  const failed = setxattr(inode, OPAQUE, Buffer.from("y"));
  if (failed) succeed(failed, "setxattr", path);
}

/** Makes the character device 0:0 that hides a name of lower layers. @throws Refusal where the name exists in this layer */
export function makeWhiteout(fs: ExtractFs, path: string, entry: TarEntry): void {
  const inode = succeed(fs.create(path, { type: "c", mode: 0, major: 0, minor: 0 }), "mknod", path);
  chown(inode, entry.uid, entry.gid);
}
