/** Measurement lists as kernels write them, and the digests that they extend. */
import { hash } from "node:crypto";
import { u32 } from "./boot-log.ts";

const sha1 = (data: Uint8Array): Buffer => hash("sha1", data, "buffer");
const sha256 = (data: Uint8Array | string): Buffer => hash("sha256", data, "buffer");
const field = (data: Buffer): Buffer => Buffer.concat([u32(data.length), data]);

export interface WrittenMeasurement {
  readonly bytes: Buffer;
  /** What the kernel extends into the sha256 bank, since 5.8 and before. */
  readonly hashed: Buffer;
  readonly padded: Buffer;
}

function measurement(template: string, data: Buffer, preimage: Buffer, violation: boolean, pcr = 10): WrittenMeasurement {
  const digest = violation ? Buffer.alloc(20) : sha1(preimage);
  const head = Buffer.concat([u32(pcr), digest, u32(template.length), Buffer.from(template)]);
  const ones = Buffer.alloc(32, 0xff);
  return {
    bytes: Buffer.concat([head, ...(template === "ima" ? [] : [u32(data.length)]), data]),
    hashed: violation ? ones : sha256(preimage),
    padded: violation ? ones : Buffer.concat([digest, Buffer.alloc(12)]),
  };
}

export interface MeasuredContent {
  readonly path: string;
  readonly content: string;
  readonly template?: "ima" | "ima-ng" | "ima-sig" | "ima-ngv2" | "ima-buf";
  readonly algorithm?: "sha1" | "sha256" | "sha384" | "sha512";
  readonly violation?: boolean;
  readonly pcr?: number;
}

/** One file, or with `ima-buf` one buffer, as the kernel measures it. */
export function measured({ path, content, template = "ima-ng", algorithm = "sha256", violation = false, pcr = 10 }: MeasuredContent): WrittenMeasurement {
  if (template === "ima") {
    const digest = violation ? Buffer.alloc(20) : sha1(Buffer.from(content));
    const name = Buffer.from(path);
    const padded = Buffer.concat([digest, name, Buffer.alloc(Math.max(0, 256 - name.length))]).subarray(0, 276);
    return measurement("ima", Buffer.concat([digest, field(name)]), padded, violation, pcr);
  }
  const digest = hash(algorithm, content, "buffer");
  const prefix = template === "ima-ngv2" ? `ima:${algorithm}` : algorithm;
  const extra = template === "ima-sig" ? [field(Buffer.from("a signature"))] : template === "ima-buf" ? [field(Buffer.from(content))] : [];
  const data = Buffer.concat([field(Buffer.concat([Buffer.from(`${prefix}:\0`), digest])), field(Buffer.from(`${path}\0`)), ...extra]);
  return measurement(template, data, data, violation, pcr);
}

export const listOf = (entries: readonly WrittenMeasurement[]): Buffer => Buffer.concat(entries.map(({ bytes }) => bytes));

/** PCR 10 after these. */
export function pcrAfter(entries: readonly WrittenMeasurement[], scheme: "hashed" | "padded" = "hashed"): Buffer {
  return entries.reduce<Buffer>((value, entry) => sha256(Buffer.concat([value, entry[scheme]])), Buffer.alloc(32));
}
