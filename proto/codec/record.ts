/**
 * The canonical record of one filesystem entry: what is compared, byte for byte, between a live tree and a signed image.
 *
 * Layout, version 1 (all integers big-endian):
 * `u8 version=1 · u8 type · u16 mode · u32 uid · u32 gid ·`
 * by type: `f` u64 size, 32 bytes SHA-256 · `l` u32 length, target · `c b` u32 major, u32 minor · `d` u8 opaque ·
 * `u32 count`, then for each xattr, ascending by name bytes: `u32 length, name · u32 length, value`.
 *
 * A whiteout `w` has mode, uid and gid 0 and no xattrs: it stands for absence, and its inode's own metadata mean nothing.
 */
import { ByteReader, ByteWriter } from "./bytes.ts";
import { CodecError } from "./errors.ts";

/** f file, d directory, l symlink, c character device, b block device, p FIFO, s socket, w overlay whiteout. */
export type RecordType = "f" | "d" | "l" | "c" | "b" | "p" | "s" | "w";

export const RECORD_VERSION = 1;
/** Longest symlink target, xattr name and xattr value that a record may hold (Linux: PATH_MAX, XATTR_NAME_MAX, XATTR_SIZE_MAX). */
export const MAX_TARGET_BYTES = 4096;
export const MAX_XATTR_NAME_BYTES = 255;
export const MAX_XATTR_VALUE_BYTES = 65536;
export const MAX_XATTRS = 64;

export interface Xattr {
  readonly name: Buffer;
  readonly value: Buffer;
}

interface Common {
  /** Permission bits and setuid, setgid, sticky: 0..0o7777. A symlink always has 0o777. */
  readonly mode: number;
  /** Owner in the image's terms (before any id mapping): 0..2^32-1. */
  readonly uid: number;
  readonly gid: number;
  /** Measured xattrs, ascending by name, without duplicates. */
  readonly xattrs: readonly Xattr[];
}

export interface FileRecord extends Common {
  readonly type: "f";
  /** Bytes: 0..2^63-1. */
  readonly size: bigint;
  /** SHA-256 of the content, 32 bytes. */
  readonly sha256: Buffer;
}
export interface DirectoryRecord extends Common {
  readonly type: "d";
  /** True where overlayfs hides everything below this name in lower layers (`trusted.overlay.opaque=y`). */
  readonly opaque: boolean;
}
export interface SymlinkRecord extends Common {
  readonly type: "l";
  readonly target: Buffer;
}
export interface DeviceRecord extends Common {
  readonly type: "c" | "b";
  readonly major: number;
  readonly minor: number;
}
export interface OtherRecord extends Common {
  readonly type: "p" | "s" | "w";
}
export type EntryRecord = FileRecord | DirectoryRecord | SymlinkRecord | DeviceRecord | OtherRecord;

/** The record of every whiteout. */
export const WHITEOUT: OtherRecord = { type: "w", mode: 0, uid: 0, gid: 0, xattrs: [] };

const TYPES = new Set<string>(["f", "d", "l", "c", "b", "p", "s", "w"]);

/** Encodes a record. The caller owns the result. @throws CodecError on a value out of range or xattrs out of order. */
export function encodeRecord(record: EntryRecord): Buffer {
  const writer = new ByteWriter(96);
  if (record.mode < 0 || record.mode > 0o7777) throw new CodecError("OUT_OF_RANGE", `mode ${record.mode}`);
  writer.u8(RECORD_VERSION).u8(record.type.charCodeAt(0)).u16(record.mode).u32(record.uid).u32(record.gid);
  switch (record.type) {
    case "f":
      writer.u64(record.size).fixed(record.sha256, 32);
      break;
    case "l":
      if (record.target.length > MAX_TARGET_BYTES) throw new CodecError("TOO_LONG", `target of ${record.target.length} bytes`);
      writer.bytes(record.target);
      break;
    case "c":
    case "b":
      writer.u32(record.major).u32(record.minor);
      break;
    case "d":
      writer.u8(record.opaque ? 1 : 0);
      break;
    case "p":
    case "s":
    case "w":
      break;
  }
  writer.u32(record.xattrs.length);
  let previous: Buffer | undefined;
  for (const { name, value } of record.xattrs) {
    checkXattrOrder(previous, name);
    writer.bytes(name).bytes(value);
    previous = name;
  }
  return writer.finish();
}

/** Decodes a record from a peer's bytes. Views into `bytes` are kept. @throws CodecError on anything that {@link encodeRecord} would not have produced. */
export function decodeRecord(bytes: Uint8Array): EntryRecord {
  const reader = new ByteReader(bytes);
  const version = reader.u8();
  if (version !== RECORD_VERSION) throw new CodecError("BAD_VERSION", `record version ${version}, want ${RECORD_VERSION}`);
  const type = String.fromCharCode(reader.u8());
  if (!TYPES.has(type)) throw new CodecError("BAD_TYPE", `record type 0x${type.charCodeAt(0).toString(16)}`);
  const mode = reader.u16();
  if (mode > 0o7777) throw new CodecError("OUT_OF_RANGE", `mode 0o${mode.toString(8)}`);
  const uid = reader.u32();
  const gid = reader.u32();
  const body = readBody(type as RecordType, reader);
  const xattrs = readXattrs(reader);
  reader.end();
  if (type === "w" && (mode !== 0 || uid !== 0 || gid !== 0 || xattrs.length > 0)) throw new CodecError("OUT_OF_RANGE", "a whiteout with metadata");
  return { mode, uid, gid, xattrs, ...body } as EntryRecord;
}

type BodyOf<R> = R extends EntryRecord ? Omit<R, keyof Common> : never;

function readBody(type: RecordType, reader: ByteReader): BodyOf<EntryRecord> {
  switch (type) {
    case "f": {
      const size = reader.u64();
      if (size > 0x7fff_ffff_ffff_ffffn) throw new CodecError("OUT_OF_RANGE", `size ${size}`);
      return { type, size, sha256: reader.fixed(32) };
    }
    case "l":
      return { type, target: reader.bytes(MAX_TARGET_BYTES) };
    case "c":
    case "b":
      return { type, major: reader.u32(), minor: reader.u32() };
    case "d": {
      const flag = reader.u8();
      if (flag > 1) throw new CodecError("OUT_OF_RANGE", `opaque flag ${flag}`);
      return { type, opaque: flag === 1 };
    }
    default:
      return { type };
  }
}

function readXattrs(reader: ByteReader): Xattr[] {
  const count = reader.u32();
  if (count > MAX_XATTRS) throw new CodecError("TOO_LONG", `${count} xattrs, limit ${MAX_XATTRS}`);
  const xattrs: Xattr[] = [];
  let previous: Buffer | undefined;
  for (let i = 0; i < count; i++) {
    const name = reader.bytes(MAX_XATTR_NAME_BYTES);
    const value = reader.bytes(MAX_XATTR_VALUE_BYTES);
    checkXattrOrder(previous, name);
    xattrs.push({ name, value });
    previous = name;
  }
  return xattrs;
}

function checkXattrOrder(previous: Buffer | undefined, name: Buffer): void {
  if (name.length === 0) throw new CodecError("BAD_ORDER", "an xattr without a name");
  if (previous && Buffer.compare(previous, name) >= 0) throw new CodecError("BAD_ORDER", `xattr ${name.toString("latin1")} out of order`);
}
