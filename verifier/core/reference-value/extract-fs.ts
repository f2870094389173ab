/**
 * The filesystem that a replayed extractor works on: path walks and the few system calls that extractors make, with the
 * errors that the kernel would answer. Paths are absolute byte strings. Nothing here throws on an attacker's input.
 */
import { createInode, type Errno, type Inode, type NewInode } from "./inode.ts";

/** Longest path argument of a system call, without its NUL. */
export const MAX_SYSCALL_PATH = 4095;
const MAX_NAME = 255;
const MAX_LINKS = 40;

/** `chroot`: absolute links and `..` stay inside, as for a process whose root this is. `outside`: they lead to the host (EHOST). */
export type Confinement = "chroot" | "outside";

interface Parent {
  readonly directory: Inode;
  readonly name: string;
}

export class ExtractFs {
  readonly root: Inode;
  readonly #confinement: Confinement;
  readonly #umask: number;
  readonly #maxPath: number;
  #inodes = 0;
  #generation = 0;

  /** @param rootBytes bytes that the extractor's paths have before these (0 in a chroot) */
  constructor(confinement: Confinement, umask: number, rootBytes: number) {
    this.#confinement = confinement;
    this.#umask = umask;
    this.#maxPath = MAX_SYSCALL_PATH - rootBytes;
    this.root = { ...ROOT, children: new Map() };
  }

  /** Inodes made so far, removed ones included. */
  get inodes(): number {
    return this.#inodes;
  }

  /** Changes whenever a path may resolve otherwise than before: a symlink was made, or something removed. */
  get generation(): number {
    return this.#generation;
  }

  /** lstat */
  lstat(path: string): Inode | Errno {
    return this.#find(path, false);
  }

  /** stat: follows a last symlink. */
  stat(path: string): Inode | Errno {
    return this.#find(path, true);
  }

  /** mkdir, mknod, symlink, open(O_CREAT) of a name that must not exist. */
  create(path: string, made: NewInode): Inode | Errno {
    const parent = this.#parent(path);
    if (typeof parent === "string") return parent;
    if (parent.name === "" || parent.directory.children?.has(parent.name)) return "EEXIST";
    if (made.type === "l" && made.target === "") return "ENOENT";
    if (made.type === "l" && (made.target?.length ?? 0) > MAX_SYSCALL_PATH) return "ENAMETOOLONG";
    const inode = createInode(parent.directory, made, this.#umask);
    parent.directory.children?.set(parent.name, inode);
    this.#inodes++;
    if (made.type === "l") this.#generation++;
    return inode;
  }

  /** link: the target's last component is not followed. */
  link(target: string, path: string): Inode | Errno {
    const found = this.#find(target, false);
    if (typeof found === "string") return found;
    const parent = this.#parent(path);
    if (typeof parent === "string") return parent;
    if (parent.name === "" || parent.directory.children?.has(parent.name)) return "EEXIST";
    if (found.type === "d") return "EPERM";
    parent.directory.children?.set(parent.name, found);
    if (found.type === "l") this.#generation++;
    return found;
  }

  /** Go's os.RemoveAll of an existing path. */
  removeAll(path: string): Errno | undefined {
    const parent = this.#parent(path);
    if (typeof parent === "string") return parent;
    if (parent.name === "") return "EBUSY";
    if (parent.directory.children?.delete(parent.name)) this.#generation++;
    return undefined;
  }

  #find(path: string, follow: boolean): Inode | Errno {
    const parent = this.#walk(path, follow);
    if (typeof parent === "string") return parent;
    if (parent.name === "") return parent.directory;
    return parent.directory.children?.get(parent.name) ?? "ENOENT";
  }

  #parent(path: string): Parent | Errno {
    return this.#walk(path, false);
  }

  /** Walks to the directory that holds the last component, which is `""` where the path ends at a directory by itself (`/`, `..`). */
  #walk(path: string, follow: boolean): Parent | Errno {
    if (path === "") return "ENOENT";
    if (path.length > this.#maxPath) return "ENAMETOOLONG";
    const todo = components(path);
    let above: Inode[] = [];
    let at = this.root;
    let links = 0;
    for (let component = todo.pop(); component !== undefined; component = todo.pop()) {
      if (component.length > MAX_NAME) return "ENAMETOOLONG";
      if (component === ".") continue;
      if (component === "..") {
        const up = above.pop();
        if (!up && this.#confinement === "outside") return "EHOST";
        at = up ?? at;
        continue;
      }
      const child = at.children?.get(component);
      const last = todo.length === 0;
      if (last && !(child?.type === "l" && follow)) return { directory: at, name: component };
      if (!child) return "ENOENT";
      if (child.type === "l") {
        if (++links > MAX_LINKS) return "ELOOP";
        if (child.target.startsWith("/")) {
          if (this.#confinement === "outside") return "EHOST";
          at = this.root;
          above = [];
        }
        todo.push(...components(child.target));
        continue;
      }
      if (child.type !== "d") return "ENOTDIR";
      above.push(at);
      at = child;
    }
    return { directory: at, name: "" };
  }
}

const ROOT: Inode = {
  type: "d",
  mode: 0o755,
  uid: 0,
  gid: 0,
  xattrs: undefined,
  size: 0,
  sha256: undefined,
  target: "",
  major: 0,
  minor: 0,
  children: undefined,
  implied: false,
};

/** Empty or `.` components, or a trailing slash. */
const UNCLEAN = /\/\/|(?:^|\/)\.(?:\/|$)|\/$/;

/** Components in reverse, `.` and empty ones dropped; a trailing slash leaves `"."` behind, so that the last name is followed. */
function components(path: string): string[] {
  const all = path.split("/");
  if (!UNCLEAN.test(path)) {
    if (all[0] === "") all.shift();
    return all.reverse();
  }
  const names = all.filter((name) => name !== "" && name !== ".");
  const trailing = names.length > 0 && /\/\.?$/.test(path);
  names.reverse();
  return trailing ? [".", ...names] : names;
}
