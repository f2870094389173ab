/** PAX extended headers, read and merged as Go's archive/tar does. The bytes are controlled by whoever built the image. */
import { latin1 } from "./latin1.ts";
import { TarError } from "./tar-error.ts";
import { asUint32, type TarHeader } from "./tar-header.ts";

/** Longest PAX header or GNU long name in bytes (Go's limit since 1.19.2). */
export const MAX_SPECIAL_BYTES = 1 << 20;
/** Keys with this prefix are xattrs of the entry. */
export const XATTR_PREFIX = "SCHILY.xattr.";

const SPARSE_MAP = "GNU.sparse.map";
const SPARSE_OFFSET = "GNU.sparse.offset";
const SPARSE_BYTES = "GNU.sparse.numbytes";
const NO_NUL_VALUES = new Set(["path", "linkpath", "uname", "gname"]);

/** Records by key, values as byte strings; a later record of a key replaces, an empty value stays as empty. */
export type PaxRecords = Map<string, string>;

/** Decimal as `strconv.ParseInt(s, 10, 64)`; undefined where that fails. */
export function parseDecimal(text: string): bigint | undefined {
  if (!/^[+-]?[0-9]+$/.test(text)) return undefined;
  const value = BigInt(text.startsWith("+") ? text.slice(1) : text);
  return BigInt.asIntN(64, value) === value ? value : undefined;
}

/** @throws TarError on anything but well-formed records up to the end */
export function parsePax(bytes: Buffer): PaxRecords {
  const records: PaxRecords = new Map();
  const sparse: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const length = space < 0 ? undefined : parseDecimal(latin1(bytes, at, space));
    if (length === undefined || length < 5n || length > bytes.length - at) throw new TarError("bad PAX record length");
    const end = at + Number(length);
    if (end <= space + 1 || bytes[end - 1] !== 0x0a) throw new TarError("bad PAX record end");
    const record = latin1(bytes, space + 1, end - 1);
    const equals = record.indexOf("=");
    if (equals <= 0) throw new TarError("bad PAX record key");
    const key = record.slice(0, equals);
    const value = record.slice(equals + 1);
    if ((NO_NUL_VALUES.has(key) ? value : key).includes("\0")) throw new TarError("NUL in PAX record");
    if (key === SPARSE_OFFSET || key === SPARSE_BYTES) {
      const expected = sparse.length % 2 === 0 ? SPARSE_OFFSET : SPARSE_BYTES;
      if (key !== expected || value.includes(",")) throw new TarError("bad PAX sparse record");
      sparse.push(value);
    } else {
      records.set(key, value);
    }
    at = end;
  }
  if (sparse.length > 0) records.set(SPARSE_MAP, sparse.join(","));
  return records;
}

/** Overwrites header fields with non-empty PAX values. @throws TarError on a number or time that does not parse */
export function mergePax(header: TarHeader, records: PaxRecords): void {
  for (const [key, value] of records) {
    if (value === "") continue;
    switch (key) {
      case "path":
        header.name = value;
        break;
      case "linkpath":
        header.linkname = value;
        break;
      case "uid":
        header.uid = asUint32(decimal(key, value));
        break;
      case "gid":
        header.gid = asUint32(decimal(key, value));
        break;
      case "size":
        header.size = Number(decimal(key, value));
        break;
      case "atime":
      case "mtime":
      case "ctime":
        checkTime(key, value);
        break;
      default:
    }
  }
}

function decimal(key: string, value: string): bigint {
  const number = parseDecimal(value);
  if (number === undefined) throw new TarError(`bad PAX ${key}`);
  return number;
}

function checkTime(key: string, value: string): void {
  const dot = value.indexOf(".");
  decimal(key, dot < 0 ? value : value.slice(0, dot));
  if (dot >= 0 && !/^[0-9]*$/.test(value.slice(dot + 1))) throw new TarError(`bad PAX ${key}`);
}
