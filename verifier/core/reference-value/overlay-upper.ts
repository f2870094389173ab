/** The upperdir that a runtime leaves when it makes files in a mounted overlay: copied-up parents, new entries, whiteouts. */
import { decodeRecord, encodeRecord } from "@hullmark/proto/codec";
import { chmod, chown, createInode, type Inode, type NewInode, OPAQUE, recordOf, setxattr } from "./inode.ts";
import { bytesOf, latin1 } from "./latin1.ts";
import { type LayerLeaf, LayerTree } from "./layer-tree.ts";
import type { MergedTree } from "./merged-tree.ts";

/** Engines and runc create with it. */
const UMASK = 0o022;
const MAX_LINKS = 40;

/** How missing directories are made. */
export interface Maker {
  /** dockerd: chmod to 0755 where an ACL made it otherwise, owner root. runc: a plain mkdir, so a setgid parent gives its group. */
  readonly by: "dockerd" | "runc";
  /**
   * New directories below merged ones are marked opaque: kernels before 5.8, and later ones where index, metacopy, redirect_dir
   * or xino is on. By default newer kernels mark only those that replace something.
   */
  readonly marksNewOpaque: boolean;
}

interface Place {
  readonly inode: Inode;
  /** The directory exists in lower layers as well and shows their names too. */
  readonly merged: boolean;
}

/** Works on absolute, cleaned byte-string paths. */
export class OverlayUpper {
  readonly #lower: MergedTree;
  readonly #maker: Maker;
  readonly #root: Inode;

  constructor(lower: MergedTree, maker: Maker) {
    this.#lower = lower;
    this.#maker = maker;
    this.#root = directory(0o755, 0, 0);
  }

  /** The components of a path after symlinks, confined to the root: those that do not exist are kept as they are. */
  resolve(path: string): string[] {
    const todo = names(path).reverse();
    let at: string[] = [];
    let links = 0;
    for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
      if (name === "..") {
        at.pop();
        continue;
      }
      const target = this.#linkTarget([...at, name]);
      if (target === undefined || ++links > MAX_LINKS) {
        at.push(name);
        continue;
      }
      if (target.startsWith("/")) at = [];
      todo.push(...names(target).reverse());
    }
    return at;
  }

  /** `d` for a directory, `x` for anything else that is there. */
  kind(parts: readonly string[]): "d" | "x" | undefined {
    const inode = this.#upper(parts);
    if (inode !== undefined) return inode === null ? this.#lowerKind(parts) : inode === "hidden" ? undefined : kindOf(inode);
    return this.#lowerKind(parts);
  }

  /** mkdir -p with mode 0755. */
  makeDirectories(parts: readonly string[]): void {
    this.#directory(parts);
  }

  /** A new entry where there is none; parents are made or copied up. */
  make(parts: readonly string[], made: NewInode): void {
    const place = this.#directory(parts.slice(0, -1));
    const inode = createInode(place.inode, made, UMASK);
    if (this.#maker.by === "dockerd" && made.type === "f") chown(inode, 0, 0);
    place.inode.children?.set(parts.at(-1) ?? "", inode);
  }

  /** unlink of something that is no directory. */
  unlink(parts: readonly string[]): void {
    const place = this.#directory(parts.slice(0, -1));
    const name = parts.at(-1) ?? "";
    place.inode.children?.delete(name);
    if (place.merged && this.#lowerKind(parts)) place.inode.children?.set(name, createInode(place.inode, { type: "c", mode: 0 }, 0));
  }

  /** What the upper directory holds now. */
  tree(): LayerTree {
    const leaves: LayerLeaf[] = [];
    const visit = (at: Inode, prefix: string): void => {
      for (const [name, inode] of at.children ?? []) {
        leaves.push({ path: bytesOf(prefix + name), record: recordOf(inode), implied: false });
        visit(inode, `${prefix}${name}/`);
      }
    };
    visit(this.#root, "");
    return LayerTree.build(leaves);
  }

  /** The upper inode; null where only lower layers can have it; "hidden" where the upper layer hides them or has a whiteout. */
  #upper(parts: readonly string[]): Inode | null | "hidden" | undefined {
    let at = this.#root;
    let merged = true;
    for (const [i, name] of parts.entries()) {
      const child = at.children?.get(name);
      if (!child) return merged ? null : "hidden";
      if (child.type === "c" && child.major === 0 && child.minor === 0) return "hidden";
      if (child.type !== "d" && i < parts.length - 1) return "hidden";
      merged = merged && !child.xattrs?.has(OPAQUE);
      at = child;
    }
    return at;
  }

  #lowerKind(parts: readonly string[]): "d" | "x" | undefined {
    if (parts.length === 0) return "d";
    const entry = this.#lower.get(bytesOf(parts.join("/")));
    if (!entry) return undefined;
    return entry.record[1] === 0x64 ? "d" : "x";
  }

  #linkTarget(parts: readonly string[]): string | undefined {
    const upper = this.#upper(parts);
    if (upper === "hidden") return undefined;
    if (upper) return upper.type === "l" ? upper.target : undefined;
    const entry = this.#lower.get(bytesOf(parts.join("/")));
    const record = entry && decodeRecord(entry.record);
    return record?.type === "l" ? latin1(record.target) : undefined;
  }

  /** The upper directory of a path: copied up where lower layers have it, made where nothing has. */
  #directory(parts: readonly string[]): Place {
    let place: Place = { inode: this.#root, merged: true };
    for (const [i, name] of parts.entries()) place = this.#child(place, parts.slice(0, i + 1), name);
    return place;
  }

  #child(parent: Place, parts: readonly string[], name: string): Place {
    const there = parent.inode.children?.get(name);
    if (there?.type === "d") return { inode: there, merged: parent.merged && !there.xattrs?.has(OPAQUE) && this.#lowerKind(parts) === "d" };
    const lower = there || !parent.merged ? undefined : this.#lower.get(bytesOf(parts.join("/")));
    const record = lower && decodeRecord(lower.record);
    if (record?.type === "d") {
      const inode = directory(record.mode, record.uid, record.gid);
      for (const xattr of record.xattrs) if (!xattr.name.toString("latin1").startsWith("trusted.")) setxattr(inode, latin1(xattr.name), xattr.value);
      chmod(inode, record.mode);
      parent.inode.children?.set(name, inode);
      return { inode, merged: true };
    }
    const inode = createInode(parent.inode, { type: "d", mode: 0o755 }, UMASK);
    if (there || (parent.merged && this.#maker.marksNewOpaque)) setxattr(inode, OPAQUE, Buffer.from("y"));
    if (this.#maker.by === "dockerd") {
      if ((inode.mode & 0o777) !== 0o755) chmod(inode, 0o755);
      chown(inode, 0, 0);
    }
    parent.inode.children?.set(name, inode);
    return { inode, merged: false };
  }
}

function directory(mode: number, uid: number, gid: number): Inode {
  const none = { xattrs: undefined, size: 0, sha256: undefined, target: "", major: 0, minor: 0, implied: false };
  return { type: "d", mode, uid, gid, children: new Map(), ...none };
}

function kindOf(inode: Inode): "d" | "x" {
  return inode.type === "d" ? "d" : "x";
}

function names(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}

/** A record with its opaque flag cleared; others unchanged. */
export function withoutOpaque(encoded: Buffer): Buffer {
  const record = decodeRecord(encoded);
  return record.type === "d" && record.opaque ? encodeRecord({ ...record, opaque: false }) : encoded;
}
