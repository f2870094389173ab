/** Writes tar bytes with full control, so that tests can express what no tool would write. Names are byte strings (latin1). */

export interface RawHeader {
  readonly name?: string;
  readonly linkname?: string;
  /** Default `0`. */
  readonly type?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Declared size; default the length of `data`. */
  readonly size?: number;
  readonly mtime?: number;
  readonly major?: number;
  readonly minor?: number;
  readonly prefix?: string;
  /** Default `ustar`. */
  readonly format?: "ustar" | "gnu" | "v7" | "star";
  /** Written over the finished header before its checksum. */
  readonly patch?: readonly { readonly at: number; readonly bytes: string }[];
  readonly data?: Buffer | string;
}

const BLOCK = 512;

/** A whole entry: header, data, padding. */
export function raw(header: RawHeader): Buffer {
  const data = Buffer.from((header.data ?? "") as string, "latin1");
  const block = Buffer.alloc(BLOCK);
  const type = header.type ?? "0";
  const format = header.format ?? "ustar";
  block.write((header.name ?? "").slice(0, 100), 0, "latin1");
  number(block, 100, 8, header.mode ?? 0o644);
  number(block, 108, 8, header.uid ?? 0);
  number(block, 116, 8, header.gid ?? 0);
  number(block, 124, 12, header.size ?? data.length);
  number(block, 136, 12, header.mtime ?? 1_700_000_000);
  block.write(type, 156, "latin1");
  block.write((header.linkname ?? "").slice(0, 100), 157, "latin1");
  if (format !== "v7") {
    block.write(format === "gnu" ? "ustar  \0" : "ustar\x0000", 257, "latin1");
    number(block, 329, 8, header.major ?? 0);
    number(block, 337, 8, header.minor ?? 0);
    if (header.prefix) block.write(header.prefix, 345, "latin1");
    if (format === "star") block.write("tar\0", 508, "latin1");
  }
  for (const { at, bytes } of header.patch ?? []) block.write(bytes, at, "latin1");
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return Buffer.concat([block, data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}

function number(block: Buffer, at: number, bytes: number, value: number): void {
  const octal = value.toString(8);
  if (value >= 0 && octal.length < bytes) {
    block.write(octal.padStart(bytes - 1, "0"), at, "latin1");
    return;
  }
  let rest = BigInt.asUintN(bytes * 8, BigInt(value));
  for (let i = bytes - 1; i >= 0; i--) {
    block[at + i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  block[at] = (block[at] ?? 0) | 0x80;
}

/** One PAX record with its own length. */
export function paxRecord(key: string, value: string): string {
  const body = ` ${key}=${value}\n`;
  let length = body.length + 1;
  while (`${length}`.length + body.length !== length) length = `${length}`.length + body.length;
  return `${length}${body}`;
}

/** A PAX header (`x`, or `g` for a global one) for what follows. */
export function pax(records: Readonly<Record<string, string>>, type: "x" | "g" = "x", name = "PaxHeaders/x"): Buffer {
  const data = Object.entries(records)
    .map(([key, value]) => paxRecord(key, value))
    .join("");
  return raw({ name, type, data: Buffer.from(data, "latin1") });
}

export interface Entry extends RawHeader {
  readonly name: string;
  /** PAX records besides those that long names need. */
  readonly pax?: Readonly<Record<string, string>>;
  readonly xattrs?: Readonly<Record<string, Buffer>>;
}

/** An entry as a good writer makes it: names that do not fit go into PAX records. */
export function entry(given: Entry): Buffer {
  const records: Record<string, string> = { ...given.pax };
  if (given.name.length > 100) records["path"] = given.name;
  if ((given.linkname?.length ?? 0) > 100) records["linkpath"] = given.linkname as string;
  for (const [name, value] of Object.entries(given.xattrs ?? {})) records[`SCHILY.xattr.${name}`] = value.toString("latin1");
  const parts = Object.keys(records).length > 0 ? [pax(records)] : [];
  return Buffer.concat([...parts, raw(given)]);
}

/** GNU long name or link for the next entry. */
export function gnuLong(type: "L" | "K", value: string): Buffer {
  return raw({ name: "././@LongLink", type, format: "gnu", data: Buffer.from(`${value}\0`, "latin1") });
}

/** A tar of entries and the two zero blocks. */
export function tar(...entries: readonly (Entry | Buffer)[]): Buffer {
  return Buffer.concat([...entries.map((each) => (Buffer.isBuffer(each) ? each : entry(each))), Buffer.alloc(2 * BLOCK)]);
}

export const file = (name: string, data: string | Buffer = name, more: Partial<Entry> = {}): Entry => ({ name, data, ...more });
export const directory = (name: string, mode = 0o755, more: Partial<Entry> = {}): Entry => ({ name, type: "5", mode, ...more });
export const symlink = (name: string, linkname: string, more: Partial<Entry> = {}): Entry => ({ name, type: "2", mode: 0o777, linkname, ...more });
export const hardlink = (name: string, linkname: string, more: Partial<Entry> = {}): Entry => ({ name, type: "1", linkname, ...more });
export const whiteout = (path: string, more: Partial<Entry> = {}): Entry => {
  const at = path.lastIndexOf("/") + 1;
  return { name: `${path.slice(0, at)}.wh.${path.slice(at)}`, ...more };
};
export const opaque = (path: string, more: Partial<Entry> = {}): Entry => ({ name: path === "" ? ".wh..wh..opq" : `${path}/.wh..wh..opq`, ...more });
