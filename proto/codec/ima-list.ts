/**
 * The kernel's binary measurement list (security/integrity/ima, `binary_runtime_measurements`), little-endian: for each entry the PCR, the SHA-1 template digest,
 * the template's name and its data, whose length the oldest template (`ima`) leaves out. Agent and verifier must cut it at the same places.
 */
import { CodecError } from "./errors.ts";

const MAX_NAME_BYTES = 255;
/** A path of 4 KiB, a signature, and a buffer (a key, a kernel command line, critical data) of up to 64 KiB. */
export const MAX_IMA_ENTRY_BYTES = 128 * 1024;
/** Most bytes of entries in one report; what is left follows with the next quote. */
export const MAX_IMA_REPORT_BYTES = 2 * 1024 * 1024;
export const MAX_IMA_PCR = 23;
const TEMPLATE_DIGEST_BYTES = 20;
const OLD_NAME_BYTES = 256;
const NAME_AT = 4 + TEMPLATE_DIGEST_BYTES + 4;

export interface ImaEntry {
  readonly pcr: number;
  readonly template: string;
  /** All zeros for a violation: the file was written while it was measured. */
  readonly templateDigest: Buffer;
  /** Template data as it is hashed, except that the `ima` template pads its name to 256 bytes. A view of the input. */
  readonly data: Buffer;
  /** Bytes of the whole entry. */
  readonly length: number;
}

/**
 * The entry that begins at `at`.
 * @returns undefined where its end is not there yet
 * @throws CodecError where no kernel writes this
 */
export function readImaEntry(bytes: Buffer, at: number): ImaEntry | undefined {
  if (bytes.length - at < NAME_AT) return undefined;
  const pcr = bytes.readUInt32LE(at);
  if (pcr > MAX_IMA_PCR) throw new CodecError("OUT_OF_RANGE", `PCR ${pcr} in the measurement list`);
  const templateDigest = bytes.subarray(at + 4, at + 4 + TEMPLATE_DIGEST_BYTES);
  const nameBytes = bytes.readUInt32LE(at + 4 + TEMPLATE_DIGEST_BYTES);
  if (nameBytes === 0 || nameBytes > MAX_NAME_BYTES) throw new CodecError("TOO_LONG", `template name of ${nameBytes} bytes`);
  const dataAt = at + NAME_AT + nameBytes;
  if (bytes.length < dataAt + 4) return undefined;
  const template = bytes.toString("latin1", at + NAME_AT, dataAt);
  if (!/^[a-z0-9|_-]+$/.test(template)) throw new CodecError("BAD_TYPE", "a template's name of other characters");
  const old = template === "ima";
  const start = old ? dataAt : dataAt + 4;
  if (old && bytes.length < dataAt + TEMPLATE_DIGEST_BYTES + 4) return undefined;
  const size = old ? TEMPLATE_DIGEST_BYTES + 4 + bytes.readUInt32LE(dataAt + TEMPLATE_DIGEST_BYTES) : bytes.readUInt32LE(dataAt);
  if (size > MAX_IMA_ENTRY_BYTES) throw new CodecError("TOO_LONG", `measurement of ${size} bytes, limit ${MAX_IMA_ENTRY_BYTES}`);
  if (bytes.length < start + size) return undefined;
  return { pcr, template, templateDigest, data: bytes.subarray(start, start + size), length: start + size - at };
}

/** What the template's digest is made of: the data; for the oldest template the digest, and the name padded with zeros. */
export function imaPreimage(template: string, data: Buffer): Buffer {
  if (template !== "ima") return data;
  const preimage = Buffer.alloc(TEMPLATE_DIGEST_BYTES + OLD_NAME_BYTES);
  data.copy(preimage, 0, 0, TEMPLATE_DIGEST_BYTES);
  data.copy(preimage, TEMPLATE_DIGEST_BYTES, TEMPLATE_DIGEST_BYTES + 4, TEMPLATE_DIGEST_BYTES + 4 + OLD_NAME_BYTES - 1);
  return preimage;
}
