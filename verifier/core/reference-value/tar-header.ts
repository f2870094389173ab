/**
 * One 512-byte tar header, read as Go's archive/tar reads it: the engines' extractors are written in Go, and where formats
 * leave room (mixed magics, base-256 numbers, overlong fields) their reader's choice is the expected value.
 * The bytes are controlled by whoever built the image. Strings are byte strings (latin1: one character a byte).
 */
import { latin1 } from "./latin1.ts";
import { TarError } from "./tar-error.ts";

export const BLOCK_BYTES = 512;

/** A header after its format-specific fields are merged, before PAX records and GNU long names. */
export interface TarHeader {
  name: string;
  linkname: string;
  /** One character: `0` file, `1` link, `2` symlink, `3` `4` devices, `5` directory, `6` FIFO, `g` global header; others as found. */
  typeflag: string;
  /** As written; extractors use the low 12 bits. */
  mode: number;
  /** 0..2^32-1 after the kernel's truncation; 2^32-1 means "leave as it is". */
  uid: number;
  gid: number;
  /** Bytes; exact up to 2^53, only compared above. */
  size: number;
  /** 0..2^32-1 */
  devmajor: number;
  devminor: number;
}

export type TarFormat = "v7" | "ustar" | "star" | "gnu";

const NUL = 0;
const SPACE = 0x20;

/** A NUL-terminated field, or all of it. */
export function parseString(block: Buffer, at: number, bytes: number): string {
  let end = at;
  while (end < at + bytes && block[end] !== NUL) end++;
  return latin1(block, at, end);
}

function parseOctal(block: Buffer, at: number, bytes: number): number {
  let start = at;
  let end = at + bytes;
  while (start < end && (block[start] === NUL || block[start] === SPACE)) start++;
  while (end > start && (block[end - 1] === NUL || block[end - 1] === SPACE)) end--;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = (block[i] as number) - 0x30;
    if (block[i] === NUL && i > start) break;
    if (digit < 0 || digit > 7) throw new TarError("bad octal number in tar header");
    value = value * 8 + digit;
  }
  return value;
}

/** Octal, or base-256 where the first bit is set (two's complement, at most 63 bits). */
export function parseNumeric(block: Buffer, at: number, bytes: number): number {
  return Number(parseInt64(block, at, bytes));
}

function parseInt64(block: Buffer, at: number, bytes: number): bigint | number {
  const first = block[at] as number;
  if ((first & 0x80) === 0) return parseOctal(block, at, bytes);
  const inverted = (first & 0x40) !== 0;
  let value = 0n;
  for (let i = 0; i < bytes; i++) {
    let byte = (block[at + i] as number) ^ (inverted ? 0xff : 0);
    if (i === 0) byte &= 0x7f;
    if (value >> 56n > 0n) throw new TarError("base-256 number overflows");
    value = (value << 8n) | BigInt(byte);
  }
  if (value >> 63n > 0n) throw new TarError("base-256 number overflows");
  return inverted ? -value - 1n : value;
}

/** Truncates a 64-bit number to what a 32-bit system call argument keeps. */
export function asUint32(value: bigint | number): number {
  return Number(BigInt.asUintN(32, BigInt(value)));
}

/** The format by checksum and magic, or undefined where the checksum is wrong. */
export function tarFormat(block: Buffer): TarFormat | undefined {
  let declared: number;
  try {
    declared = parseOctal(block, 148, 8);
  } catch {
    return undefined;
  }
  let unsigned = 0;
  let high = 0;
  for (let i = 0; i < BLOCK_BYTES; i++) {
    const byte = i >= 148 && i < 156 ? SPACE : (block[i] as number);
    unsigned += byte;
    if (byte > 127) high++;
  }
  if (declared !== unsigned && declared !== unsigned - high * 256) return undefined;
  const magic = latin1(block, 257, 265);
  if (magic.startsWith("ustar\0")) return latin1(block, 508, 512) === "tar\0" ? "star" : "ustar";
  return magic === "ustar  \0" ? "gnu" : "v7";
}

/** Reads a header block that is not all zero. @throws TarError where Go's reader answers ErrHeader */
export function parseHeader(block: Buffer): TarHeader {
  const format = tarFormat(block);
  if (!format) throw new TarError("bad tar header checksum");
  const header: TarHeader = {
    name: parseString(block, 0, 100),
    linkname: parseString(block, 157, 100),
    typeflag: latin1(block, 156, 157),
    mode: asUint32(parseInt64(block, 100, 8)),
    uid: asUint32(parseInt64(block, 108, 8)),
    gid: asUint32(parseInt64(block, 116, 8)),
    size: parseNumeric(block, 124, 12),
    devmajor: 0,
    devminor: 0,
  };
  parseNumeric(block, 136, 12);
  if (format === "v7") return header;
  header.devmajor = asUint32(parseInt64(block, 329, 8));
  header.devminor = asUint32(parseInt64(block, 337, 8));
  const prefix = parsePrefix(block, format);
  if (prefix.length > 0) header.name = `${prefix}/${header.name}`;
  return header;
}

function parsePrefix(block: Buffer, format: TarFormat): string {
  if (format === "ustar") return parseString(block, 345, 155);
  if (format === "star") {
    parseNumeric(block, 476, 12);
    parseNumeric(block, 488, 12);
    return parseString(block, 345, 131);
  }
  // Old Go writers put a prefix where GNU keeps its times: taken as such only if the times do not parse and the text is ASCII.
  try {
    if (block[345] !== NUL) parseNumeric(block, 345, 12);
    if (block[357] !== NUL) parseNumeric(block, 357, 12);
    return "";
  } catch {
    const prefix = parseString(block, 345, 155);
    return /^[\x01-\x7f]*$/.test(prefix) ? prefix : "";
  }
}
