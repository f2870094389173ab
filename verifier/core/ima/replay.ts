/**
 * Replays a measurement list to the PCR of a quote, a part at a time. Kernels extend each bank with its own hash of the template data; before 5.8 they extended
 * the SHA-1 padded with zeros. Violations extend all ones. Which of the two it was shows at the first match.
 */
import { createHash, hash } from "node:crypto";
import { CodecError, type ImaEntry, imaPreimage, readImaEntry } from "@hullmark/proto/codec";

export const IMA_PCR = 10;

/** How entries are extended into a bank. */
export type ImaScheme = "hashed" | "padded";
/** Values of the PCR by scheme; a scheme that a match has ruled out is gone. */
export type ImaAggregate = Readonly<Partial<Record<ImaScheme, Buffer>>>;

/** Banks by the bytes of their values. */
const BANKS: ReadonlyMap<number, "sha256" | "sha384"> = new Map([
  [32, "sha256"],
  [48, "sha384"],
]);

/** The PCR at reset, of a bank whose values have so many bytes: 32 or 48. */
export function imaStart(bytes: number): ImaAggregate {
  return { hashed: Buffer.alloc(bytes), padded: Buffer.alloc(bytes) };
}

/** Whole entries only. @throws CodecError on malformed or cut ones */
export function parseImaEntries(bytes: Buffer): ImaEntry[] {
  const entries: ImaEntry[] = [];
  for (let at = 0; at < bytes.length; ) {
    const entry = readImaEntry(bytes, at);
    if (!entry) throw new CodecError("TRUNCATED", `measurement ${entries.length} is cut`);
    entries.push(entry);
    at += entry.length;
  }
  return entries;
}

/** The PCR after one more entry. */
export function extendIma(aggregate: ImaAggregate, entry: ImaEntry): ImaAggregate {
  if (entry.pcr !== IMA_PCR) return aggregate;
  const violation = isViolation(entry);
  const next: Partial<Record<ImaScheme, Buffer>> = {};
  for (const [scheme, value] of Object.entries(aggregate) as [ImaScheme, Buffer][]) {
    // What such a kernel extends is the digest that the entry brings with it: it proves the data only where it is of the data.
    if (scheme === "padded" && !violation && !hash("sha1", imaPreimage(entry.template, entry.data), "buffer").equals(entry.templateDigest)) continue;
    const bank = BANKS.get(value.length);
    if (bank === undefined) throw new RangeError(`no bank has values of ${value.length} bytes`);
    next[scheme] = createHash(bank)
      .update(value)
      .update(violation ? Buffer.alloc(value.length, 0xff) : digestOf(entry, scheme, bank, value.length))
      .digest();
  }
  return next;
}

export function isViolation({ templateDigest }: ImaEntry): boolean {
  return templateDigest.every((byte) => byte === 0);
}

function digestOf(entry: ImaEntry, scheme: ImaScheme, bank: string, bytes: number): Buffer {
  if (scheme === "padded") return Buffer.concat([entry.templateDigest, Buffer.alloc(bytes - entry.templateDigest.length)]);
  return hash(bank, imaPreimage(entry.template, entry.data), "buffer");
}

/** The schemes under which the aggregate is the quoted value; undefined: none. */
export function matching(aggregate: ImaAggregate, quoted: Uint8Array): ImaAggregate | undefined {
  const held = (Object.entries(aggregate) as [ImaScheme, Buffer][]).filter(([, value]) => value.equals(quoted));
  return held.length > 0 ? Object.fromEntries(held) : undefined;
}
