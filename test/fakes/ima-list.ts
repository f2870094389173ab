/** Measurement lists as kernels write them, and the digests that they extend. */
import { hash } from "node:crypto";
import { u32 } from "./boot-log.ts";

const sha1 = (data: Uint8Array): Buffer => hash("sha1", data, "buffer");
const sha256 = (data: Uint8Array | string): Buffer => hash("sha256", data, "buffer");
const field = (data: Buffer): Buffer => Buffer.concat([u32(data.length), data]);

/** Hashes that a kernel measures files by, of those that Node has too (include/uapi/linux/hash_info.h). */
export const KERNEL_HASHES = ["md5", "sha1", "rmd160", "sha224", "sha256", "sha384", "sha512", "sm3", "sha3-256", "sha3-384", "sha3-512"] as const;

export interface WrittenMeasurement {
  readonly bytes: Buffer;
  /** The line of the list as text. */
  readonly line: Buffer;
  /** What the kernel extends into the sha256 bank, since 5.8 and before. */
  readonly hashed: Buffer;
  readonly padded: Buffer;
  /** Template data; undefined for a violation. */
  readonly preimage: Buffer | undefined;
}

function measurement(template: string, data: Buffer, preimage: Buffer, shown: readonly (string | Buffer)[], violation: boolean, pcr = 10): WrittenMeasurement {
  const digest = violation ? Buffer.alloc(20) : sha1(preimage);
  const head = Buffer.concat([u32(pcr), digest, u32(template.length), Buffer.from(template)]);
  const ones = Buffer.alloc(32, 0xff);
  return {
    line: lineOf(pcr, digest.toString("hex"), template, shown),
    bytes: Buffer.concat([head, ...(template === "ima" ? [] : [u32(data.length)]), data]),
    preimage: violation ? undefined : preimage,
    hashed: violation ? ones : sha256(preimage),
    padded: violation ? ones : Buffer.concat([digest, Buffer.alloc(12)]),
  };
}

function lineOf(pcr: number, digest: string, template: string, shown: readonly (string | Buffer)[]): Buffer {
  const fields = shown.flatMap((each) => [Buffer.from(" "), Buffer.from(each)]);
  return Buffer.concat([Buffer.from(`${String(pcr).padStart(2)} ${digest} ${template}`), ...fields, Buffer.from("\n")]);
}

export interface MeasuredContent {
  readonly path: string;
  readonly content: string | Buffer;
  readonly template?: "ima" | "ima-ng" | "ima-sig" | "ima-ngv2" | "ima-buf";
  readonly algorithm?: (typeof KERNEL_HASHES)[number];
  readonly violation?: boolean;
  readonly pcr?: number;
  /** With `ima-sig`: what `security.ima` holds. */
  readonly signature?: string;
}

/** One file, or with `ima-buf` one buffer, as the kernel measures it. */
export function measured({
  path,
  content,
  template = "ima-ng",
  algorithm = "sha256",
  violation = false,
  pcr = 10,
  signature = "a signature",
}: MeasuredContent): WrittenMeasurement {
  if (template === "ima") {
    const digest = violation ? Buffer.alloc(20) : sha1(Buffer.from(content));
    const name = Buffer.from(path);
    const padded = Buffer.concat([digest, name, Buffer.alloc(Math.max(0, 256 - name.length))]).subarray(0, 276);
    return measurement("ima", Buffer.concat([digest, field(name)]), padded, [digest.toString("hex"), name], violation, pcr);
  }
  const digest = hash(algorithm, content, "buffer");
  const prefix = template === "ima-ngv2" ? `ima:${algorithm}` : algorithm;
  const extra = template === "ima-sig" ? [Buffer.from(signature)] : template === "ima-buf" ? [Buffer.from(content)] : [];
  // Kernels write spaces of names so.
  const name = path.replaceAll(" ", "_");
  const data = Buffer.concat([field(Buffer.concat([Buffer.from(`${prefix}:\0`), digest])), field(Buffer.from(`${name}\0`)), ...extra.map(field)]);
  return measurement(template, data, data, [`${prefix}:${digest.toString("hex")}`, name, ...extra.map((each) => each.toString("hex"))], violation, pcr);
}

export const textOf = (entries: readonly WrittenMeasurement[]): Buffer => Buffer.concat(entries.map(({ line }) => line));

export const listOf = (entries: readonly WrittenMeasurement[]): Buffer => Buffer.concat(entries.map(({ bytes }) => bytes));

/** PCR 10 after these. */
export function pcrAfter(entries: readonly WrittenMeasurement[], scheme: "hashed" | "padded" = "hashed"): Buffer {
  return entries.reduce<Buffer>((value, entry) => sha256(Buffer.concat([value, entry[scheme]])), Buffer.alloc(32));
}

/** What the kernel extends into the sha384 bank, since 5.8. */
export function extended384({ preimage }: WrittenMeasurement): Buffer {
  return preimage ? hash("sha384", preimage, "buffer") : Buffer.alloc(48, 0xff);
}
