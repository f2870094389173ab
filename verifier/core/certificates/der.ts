/** DER (X.690) where reading all of it into objects would cost too much, or change it. */
import type { X509Certificate } from "node:crypto";
import { ASN1Obj } from "@sigstore/core";

export const SEQUENCE = 0x30;
export const INTEGER = 0x02;

export interface Element {
  readonly tag: number;
  /** Where its content begins, and where it ends. */
  readonly start: number;
  readonly end: number;
}

/** The element at `at`. @throws RangeError where its length is none, or more than there is */
export function element(der: Buffer, at: number): Element {
  const [tag, first] = [der.readUInt8(at), der.readUInt8(at + 1)];
  const octets = first < 0x80 ? 0 : first & 0x7f;
  if (octets > 4 || first === 0x80) throw new RangeError("a length that is none");
  const start = at + 2 + octets;
  const end = start + (octets === 0 ? first : der.readUIntBE(at + 2, octets));
  if (end > der.length) throw new RangeError("cut off");
  return { tag, start, end };
}

/** The elements in `der`, one after the other, each with its header. @throws RangeError */
export function* elements(der: Buffer): Generator<Element & { readonly at: number }> {
  for (let at = 0; at < der.length; ) {
    const each = element(der, at);
    yield { ...each, at };
    at = each.end;
  }
}

/** @throws where it is no DER, or has bytes after its end */
export function parsed(der: Uint8Array): ASN1Obj {
  return ASN1Obj.parseBuffer(Buffer.from(der));
}

/** Every GeneralName below that is a URI ([6]), in order: distribution points nest them three deep. */
export function urisIn({ tag, subs, value }: ASN1Obj): string[] {
  return tag.isContextSpecific(6) && subs.length === 0 ? [value.toString("latin1")] : subs.flatMap(urisIn);
}

/** Without leading zeros. */
export function serialOf({ serialNumber }: X509Certificate): Buffer {
  return unsigned(Buffer.from(serialNumber.padStart(serialNumber.length + (serialNumber.length % 2), "0"), "hex"));
}

export function unsigned(bytes: Buffer): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  return bytes.subarray(Math.max(0, first));
}
