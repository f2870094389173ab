/** Inodes of the replayed filesystem, and how xattrs, modes and owners of them change (Linux, as root with all capabilities). */
import { type EntryRecord, encodeRecord, type Xattr } from "@hullmark/proto/codec";
import { bytesOf } from "./latin1.ts";
import { aclMode, chmodAcl, encodeAcl, inheritAcl, parseAcl } from "./posix-acl.ts";

/** What a system call answers. A closed set. */
export type Errno =
  | "ENOENT"
  | "ENOTDIR"
  | "EEXIST"
  | "EISDIR"
  | "EPERM"
  | "EINVAL"
  | "ELOOP"
  | "ENAMETOOLONG"
  | "ENOTSUP"
  | "EACCES"
  | "ERANGE"
  | "E2BIG"
  | "EBUSY"
  /** The kernel would leave the replayed tree: the answer lies on the host. */
  | "EHOST";

export const ACL_ACCESS = "system.posix_acl_access";
export const ACL_DEFAULT = "system.posix_acl_default";
export const CAPABILITY = "security.capability";
export const OPAQUE = "trusted.overlay.opaque";
const MEASURED = new Set([ACL_ACCESS, ACL_DEFAULT, CAPABILITY, OPAQUE, "trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.whiteout"]);

/** "Leave as it is" to chown. */
export const KEEP_ID = 0xffffffff;
const SETUID = 0o4000;
const SETGID = 0o2000;
const YES = Buffer.from("y");

export interface Inode {
  readonly type: "f" | "d" | "l" | "c" | "b" | "p";
  mode: number;
  uid: number;
  gid: number;
  xattrs: Map<string, Buffer> | undefined;
  /** Files. */
  readonly size: number;
  readonly sha256: Buffer | undefined;
  /** Symlinks: the target as a byte string. */
  readonly target: string;
  /** Devices. */
  readonly major: number;
  readonly minor: number;
  /** Directories. */
  readonly children: Map<string, Inode> | undefined;
  /** A directory that no entry has named so far. */
  implied: boolean;
}

export interface NewInode {
  readonly type: Inode["type"];
  readonly mode: number;
  readonly size?: number;
  readonly sha256?: Buffer;
  readonly target?: string;
  readonly major?: number;
  readonly minor?: number;
}

/** A new inode in a directory, owned by root: set-group-id and the default ACL of the directory are inherited. `umask` counts only without such an ACL. */
export function createInode(parent: Inode, made: NewInode, umask: number): Inode {
  const inode: Inode = {
    type: made.type,
    mode: made.type === "l" ? 0o777 : made.mode,
    uid: 0,
    gid: 0,
    xattrs: undefined,
    size: made.size ?? 0,
    sha256: made.sha256,
    target: made.target ?? "",
    major: made.major ?? 0,
    minor: made.minor ?? 0,
    children: made.type === "d" ? new Map() : undefined,
    implied: false,
  };
  if (parent.mode & SETGID) {
    inode.gid = parent.gid;
    if (made.type === "d") inode.mode |= SETGID;
  }
  const defaults = parent.xattrs?.get(ACL_DEFAULT);
  if (made.type === "l") return inode;
  const acl = defaults && parseAcl(defaults);
  if (!acl || typeof acl === "string") {
    inode.mode &= ~umask;
    return inode;
  }
  const inherited = inheritAcl(acl, inode.mode);
  inode.mode = inherited.mode;
  if (inherited.acl) put(inode, ACL_ACCESS, encodeAcl(inherited.acl));
  if (made.type === "d") put(inode, ACL_DEFAULT, defaults);
  return inode;
}

/** chown: on anything but a directory it drops set-user-id, set-group-id of group executables, and file capabilities. */
export function chown(inode: Inode, uid: number, gid: number): void {
  if (uid !== KEEP_ID) inode.uid = uid;
  if (gid !== KEEP_ID) inode.gid = gid;
  if (inode.type === "d") return;
  if (inode.type !== "l") {
    inode.mode &= ~SETUID;
    if (inode.mode & 0o010) inode.mode &= ~SETGID;
  }
  inode.xattrs?.delete(CAPABILITY);
}

/** chmod with 12 bits; an access ACL follows. Not for symlinks. */
export function chmod(inode: Inode, mode: number): void {
  inode.mode = mode & 0o7777;
  const value = inode.xattrs?.get(ACL_ACCESS);
  const acl = value && parseAcl(value);
  if (!acl || typeof acl === "string") return;
  chmodAcl(acl, inode.mode);
  put(inode, ACL_ACCESS, encodeAcl(acl));
}

/** lsetxattr. Only measured names are kept; others are checked as far as an extractor would notice. @returns undefined on success */
export function setxattr(inode: Inode, name: string, value: Buffer): Errno | undefined {
  if (name.length === 0 || name.length > 255) return "ERANGE";
  if (value.length > 65536) return "E2BIG";
  if (name === ACL_ACCESS || name === ACL_DEFAULT) return setAcl(inode, name, value);
  if (name.startsWith("user.")) {
    if (inode.type !== "f" && inode.type !== "d") return "EPERM";
    return name.length === 5 ? "EINVAL" : undefined;
  }
  if (!name.startsWith("trusted.") && !name.startsWith("security.")) return "ENOTSUP";
  if (name === "trusted." || name === "security.") return "EINVAL";
  if (name === CAPABILITY) return setCapability(inode, value);
  if (MEASURED.has(name)) put(inode, name, value);
  return undefined;
}

function setAcl(inode: Inode, name: string, value: Buffer): Errno | undefined {
  const acl = parseAcl(value);
  if (typeof acl === "string") return acl;
  if (inode.type === "l") return "ENOTSUP";
  if (name === ACL_DEFAULT && inode.type !== "d") return acl ? "EACCES" : undefined;
  if (acl === null) {
    inode.xattrs?.delete(name);
    return undefined;
  }
  if (name === ACL_ACCESS) {
    const meant = aclMode(acl, inode.mode);
    inode.mode = meant.mode;
    if (!meant.extended) {
      inode.xattrs?.delete(name);
      return undefined;
    }
  }
  put(inode, name, encodeAcl(acl));
  return undefined;
}

/** `cap_convert_nscap`: revision 2 is written as it is; revision 3 of root reads back as revision 2; an empty value is written but cannot be read. */
function setCapability(inode: Inode, value: Buffer): Errno | undefined {
  if (value.length === 0) {
    inode.xattrs?.delete(CAPABILITY);
    return undefined;
  }
  const revision = value.length >= 4 ? value.readUInt32LE(0) & ~1 : 0;
  if (value.length === 20 && revision === 0x02000000) put(inode, CAPABILITY, value);
  else if (value.length === 24 && revision === 0x03000000) {
    const effective = value.readUInt32LE(0) & 1;
    const rootid = value.readUInt32LE(20);
    if (rootid === KEEP_ID) return "EINVAL";
    const kept = Buffer.from(rootid === 0 ? value.subarray(0, 20) : value);
    kept.writeUInt32LE((rootid === 0 ? 0x02000000 : 0x03000000) | effective, 0);
    put(inode, CAPABILITY, kept);
  } else return "EINVAL";
  return undefined;
}

function put(inode: Inode, name: string, value: Buffer): void {
  inode.xattrs ??= new Map();
  inode.xattrs.set(name, value);
}

/** The canonical record of an inode as overlayfs takes it in a lower layer: a character device 0:0 is a whiteout. */
export function recordOf(inode: Inode): Buffer {
  return encodeRecord(entryRecord(inode));
}

function entryRecord(inode: Inode): EntryRecord {
  const { mode, uid, gid } = inode;
  const common = { mode, uid, gid, xattrs: measuredXattrs(inode) };
  switch (inode.type) {
    case "f":
      return { type: "f", ...common, size: BigInt(inode.size), sha256: inode.sha256 as Buffer };
    case "d":
      return { type: "d", ...common, opaque: isOpaque(inode) };
    case "l":
      return { type: "l", ...common, target: bytesOf(inode.target) };
    case "p":
      return { type: "p", ...common };
    default:
      if (inode.type === "c" && inode.major === 0 && inode.minor === 0) return { type: "w", mode: 0, uid: 0, gid: 0, xattrs: [] };
      return { type: inode.type, ...common, major: inode.major, minor: inode.minor };
  }
}

function isOpaque(inode: Inode): boolean {
  return inode.xattrs?.get(OPAQUE)?.equals(YES) ?? false;
}

function measuredXattrs(inode: Inode): Xattr[] {
  if (!inode.xattrs || inode.xattrs.size === 0) return [];
  const opaque = inode.type === "d" && isOpaque(inode);
  const names = [...inode.xattrs.keys()].filter((name) => !(opaque && name === OPAQUE)).sort();
  return names.map((name) => ({ name: bytesOf(name), value: inode.xattrs?.get(name) as Buffer }));
}
