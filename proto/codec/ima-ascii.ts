/**
 * The kernel's measurement list as text (`ascii_runtime_measurements`; ima_fs.c and ima_template_lib.c in security/integrity/ima): a line for each entry with the PCR,
 * the template's digest, its name, and its fields between single spaces. Each entry is turned into the binary form. Every byte comes from the node.
 *
 * Names may hold line feeds, and those of the `ima` template spaces: an entry ends at the first line feed at which its fields have the digest that the line
 * names. Violations have none: a line feed in their names cannot be told from an entry's end, and the list is then refused, or does not lead to PCR 10.
 */
import { hash } from "node:crypto";
import { CodecError } from "./errors.ts";
import { imaPreimage, MAX_IMA_ENTRY_BYTES, MAX_IMA_PCR } from "./ima-list.ts";

/** Fields as they are shown: hex; a hash's name, a colon and hex; text, which ends with a zero where it is hashed; numbers. */
type Shown = "hex" | "hashed" | "text" | "u16" | "u32";
const FIELDS: Readonly<Record<string, Shown>> = {
  ...{ d: "hex", n: "text", "d-ng": "hashed", "d-ngv2": "hashed", "n-ng": "text", sig: "hex", buf: "hex", "d-modsig": "hashed", modsig: "hex" },
  ...{ evmsig: "hex", xattrnames: "text", xattrlengths: "hex", xattrvalues: "hex", iuid: "u32", igid: "u32", imode: "u16" },
};
/** Templates with names (Documentation/security/IMA-templates.rst); those of one's own are named by their fields. */
const TEMPLATES: Readonly<Record<string, string>> = {
  ...{ ima: "d|n", "ima-ng": "d-ng|n-ng", "ima-ngv2": "d-ngv2|n-ng", "ima-sig": "d-ng|n-ng|sig", "ima-sigv2": "d-ngv2|n-ng|sig", "ima-buf": "d-ng|n-ng|buf" },
  "ima-modsig": "d-ng|n-ng|sig|d-modsig|modsig",
  "evm-sig": "d-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode",
};
/** By the hex digits of a template's digest: kernels since 6.10 show the list by bank. */
const BANKS: Readonly<Record<number, string>> = { 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512" };

const HEAD = /^ ?(\d{1,2}) ([0-9a-f]+) ([a-z0-9|_-]+) /;
/** What may yet become a head. */
const CUT_HEAD = /^ ?\d{0,2}( [0-9a-f]*( [a-z0-9|_-]*)?)?$/;
/** PCR, the longest digest, the longest name of a template. */
const MAX_HEAD_BYTES = 2 + 1 + 128 + 1 + 255 + 1;
/** Hex of the largest entry, and its head. */
const MAX_LINE_BYTES = 2 * MAX_IMA_ENTRY_BYTES + MAX_HEAD_BYTES;
const MAX_LINE_FEEDS = 256;
const MAX_TEXT_BYTES = 4096;
const MAX_FIELDS = 16;
const SHA1_BYTES = 20;
const LINE_FEED = 0x0a;
const SPACE = 0x20;

export interface ImaAsciiEntry {
  /** As the kernel's binary list has it. */
  readonly entry: Buffer;
  /** Bytes of text, the line feed included. */
  readonly length: number;
}

/** Whether a list that begins so is text: the binary one begins with a PCR's number in four bytes, little-endian. */
export function isImaAscii(start: Uint8Array): boolean {
  return start.length > 1 && start[1] !== 0;
}

/**
 * The entry that begins at `at`.
 * @returns undefined where its end is not there yet
 * @throws CodecError where no kernel writes this, or the template is not known
 */
export function readImaAsciiEntry(bytes: Buffer, at: number): ImaAsciiEntry | undefined {
  const start = bytes.toString("latin1", at, at + MAX_HEAD_BYTES);
  const head = HEAD.exec(start);
  let end = bytes.indexOf(LINE_FEED, at);
  if (!head) {
    if (start.length < MAX_HEAD_BYTES && CUT_HEAD.test(start)) return undefined;
    throw new CodecError("BAD_TYPE", "a line that is no measurement");
  }
  const [whole, pcr, digest, template] = head as unknown as [string, string, string, string];
  const bank = BANKS[digest.length];
  if (bank === undefined) throw new CodecError("WRONG_LENGTH", `a template's digest of ${digest.length} digits`);
  if (Number(pcr) > MAX_IMA_PCR) throw new CodecError("OUT_OF_RANGE", `PCR ${pcr} in the measurement list`);
  const fields = fieldsOf(template);
  const violation = /^0+$/.test(digest);
  for (let tries = 0; end >= 0; tries++, end = bytes.indexOf(LINE_FEED, end + 1)) {
    if (tries >= MAX_LINE_FEEDS) throw new CodecError("BAD_TYPE", `a measurement that ends at none of ${MAX_LINE_FEEDS} line feeds`);
    const data = dataOf(template, fields, bytes.subarray(at + whole.length, end));
    if (data && (violation || hash(bank, imaPreimage(template, data)) === digest))
      return { entry: binary(Number(pcr), template, data, violation), length: end + 1 - at };
    if (violation) throw new CodecError("BAD_TYPE", "a violation of other fields than its template's");
  }
  if (bytes.length - at > MAX_LINE_BYTES) throw new CodecError("TOO_LONG", `a measurement of more than ${MAX_LINE_BYTES} bytes of text`);
  return undefined;
}

function fieldsOf(template: string): readonly Shown[] {
  const names = (Object.hasOwn(TEMPLATES, template) ? (TEMPLATES[template] as string) : template).split("|");
  const fields = names.flatMap((name) => (Object.hasOwn(FIELDS, name) ? (FIELDS[name] as Shown) : []));
  if (fields.length !== names.length || fields.length > MAX_FIELDS) throw new CodecError("BAD_TYPE", "a template that is not known");
  return fields;
}

/** Template data of a line's rest; undefined where it is none of this template. The last field may hold spaces. */
function dataOf(template: string, fields: readonly Shown[], text: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  let at = 0;
  for (const [i, shown] of fields.entries()) {
    const end = i === fields.length - 1 ? text.length : text.indexOf(SPACE, at);
    if (end < at) return undefined;
    const field = fieldOf(shown, text.subarray(at, end));
    if (!field) return undefined;
    // The oldest template has a digest of one length, and a name without its zero.
    if (template === "ima" && (i === 0 ? field.length !== SHA1_BYTES : field.length === 0)) return undefined;
    if (template === "ima") parts.push(...(i === 0 ? [field] : [u32(field.length - 1), field.subarray(0, -1)]));
    else parts.push(u32(field.length), field);
    at = end + 1;
  }
  const data = Buffer.concat(parts);
  return data.length > MAX_IMA_ENTRY_BYTES ? undefined : data;
}

function fieldOf(shown: Shown, bytes: Buffer): Buffer | undefined {
  if (bytes.length === 0) return bytes;
  if (shown === "text") return bytes.length > MAX_TEXT_BYTES || bytes.includes(0) ? undefined : Buffer.concat([bytes, Buffer.of(0)]);
  const text = bytes.toString("latin1");
  if (shown === "hex") return hexOf(text);
  if (shown === "hashed") {
    const colon = text.lastIndexOf(":");
    const digest = hexOf(text.slice(colon + 1));
    return digest && /^[a-z0-9:-]{2,64}$/.test(text.slice(0, colon + 1))
      ? Buffer.concat([Buffer.from(`${text.slice(0, colon + 1)}\0`, "latin1"), digest])
      : undefined;
  }
  const number = /^(0|[1-9]\d{0,9})$/.test(text) ? Number(text) : Number.NaN;
  if (!(number <= (shown === "u16" ? 0xffff : 0xffffffff))) return undefined;
  return shown === "u16" ? u32(number).subarray(0, 2) : u32(number);
}

function hexOf(text: string): Buffer | undefined {
  return text.length % 2 === 0 && /^[0-9a-f]+$/.test(text) ? Buffer.from(text, "hex") : undefined;
}

function binary(pcr: number, template: string, data: Buffer, violation: boolean): Buffer {
  const digest = violation ? Buffer.alloc(SHA1_BYTES) : hash("sha1", imaPreimage(template, data), "buffer");
  const size = template === "ima" ? [] : [u32(data.length)];
  return Buffer.concat([u32(pcr), digest, u32(template.length), Buffer.from(template, "latin1"), ...size, data]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
