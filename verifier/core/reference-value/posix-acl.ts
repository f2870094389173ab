/**
 * POSIX ACLs as the Linux kernel keeps them in `system.posix_acl_*` (include/uapi/linux/posix_acl_xattr.h; the algorithms of
 * fs/posix_acl.c): an ACL that says no more than the mode vanishes, chmod rewrites it, and a default ACL is inherited.
 */

export interface AclEntry {
  readonly tag: number;
  perm: number;
  /** Of users and groups; 2^32-1 for the others. */
  readonly id: number;
}
export type Acl = AclEntry[];

const VERSION = 2;
const USER_OBJ = 0x01;
const USER = 0x02;
const GROUP_OBJ = 0x04;
const GROUP = 0x08;
const MASK = 0x10;
const OTHER = 0x20;
const NO_ID = 0xffffffff;

/** What setxattr answers to a value: an ACL, nothing (remove it), or an errno. */
export type ParsedAcl = Acl | null | "EINVAL" | "ENOTSUP";

/** Parses and validates an xattr value as `posix_acl_from_xattr` and `posix_acl_valid` do. */
export function parseAcl(value: Buffer): ParsedAcl {
  if (value.length === 0) return null;
  if (value.length < 4) return "EINVAL";
  if (value.readUInt32LE(0) !== VERSION) return "ENOTSUP";
  if ((value.length - 4) % 8 !== 0) return "EINVAL";
  const acl: Acl = [];
  for (let at = 4; at < value.length; at += 8) {
    const tag = value.readUInt16LE(at);
    const perm = value.readUInt16LE(at + 2);
    const named = tag === USER || tag === GROUP;
    const id = named ? value.readUInt32LE(at + 4) : NO_ID;
    if (perm > 7 || (named && id === NO_ID)) return "EINVAL";
    acl.push({ tag, perm, id });
  }
  if (acl.length === 0) return null;
  return isOrdered(acl) ? acl : "EINVAL";
}

function isOrdered(acl: Acl): boolean {
  let state = USER_OBJ;
  let needsMask = false;
  for (const { tag } of acl) {
    if (tag === USER_OBJ && state === USER_OBJ) state = USER;
    else if (tag === USER && state === USER) needsMask = true;
    else if (tag === GROUP_OBJ && state === USER) state = GROUP;
    else if (tag === GROUP && state === GROUP) needsMask = true;
    else if (tag === MASK && state === GROUP) state = OTHER;
    else if (tag === OTHER && (state === OTHER || (state === GROUP && !needsMask))) state = 0;
    else return false;
  }
  return state === 0;
}

/** The xattr value of an ACL. */
export function encodeAcl(acl: Acl): Buffer {
  const value = Buffer.alloc(4 + acl.length * 8);
  value.writeUInt32LE(VERSION, 0);
  for (const [i, { tag, perm, id }] of acl.entries()) {
    value.writeUInt16LE(tag, 4 + i * 8);
    value.writeUInt16LE(perm, 6 + i * 8);
    value.writeUInt32LE(id, 8 + i * 8);
  }
  return value;
}

/** The mode that an ACL means, and whether it says more than a mode can (`posix_acl_equiv_mode`). */
export function aclMode(acl: Acl, mode: number): { mode: number; extended: boolean } {
  let bits = 0;
  let extended = false;
  for (const { tag, perm } of acl) {
    if (tag === USER_OBJ) bits |= perm << 6;
    else if (tag === GROUP_OBJ) bits |= perm << 3;
    else if (tag === OTHER) bits |= perm;
    else if (tag === MASK) {
      bits = (bits & ~0o070) | (perm << 3);
      extended = true;
    } else extended = true;
  }
  return { mode: (mode & ~0o777) | bits, extended };
}

/** chmod's effect on an access ACL (`posix_acl_chmod`). */
export function chmodAcl(acl: Acl, mode: number): void {
  const group = acl.find((entry) => entry.tag === MASK) ?? acl.find((entry) => entry.tag === GROUP_OBJ);
  for (const entry of acl) {
    if (entry.tag === USER_OBJ) entry.perm = (mode >> 6) & 7;
    else if (entry.tag === OTHER) entry.perm = mode & 7;
    else if (entry === group) entry.perm = (mode >> 3) & 7;
  }
}

/** What a new inode of `mode` gets of its directory's default ACL (`posix_acl_create`): its access ACL, if extended, and its mode. */
export function inheritAcl(defaults: Acl, mode: number): { acl: Acl | undefined; mode: number } {
  const acl = defaults.map((entry) => ({ ...entry }));
  const group = acl.find((entry) => entry.tag === MASK) ?? acl.find((entry) => entry.tag === GROUP_OBJ);
  for (const entry of acl) {
    if (entry.tag === USER_OBJ) entry.perm &= mode >> 6;
    else if (entry.tag === OTHER) entry.perm &= mode;
    else if (entry === group) entry.perm &= mode >> 3;
  }
  const created = aclMode(acl, mode);
  return { acl: created.extended ? acl : undefined, mode: created.mode };
}
