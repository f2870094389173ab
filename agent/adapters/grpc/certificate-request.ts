/** A PKCS #10 request (RFC 2986) of the one kind that agents make: a P-256 key, a common name, no attributes. DER (X.690), written, never read. */
import { type KeyObject, sign } from "node:crypto";

const INTEGER = 0x02;
const BIT_STRING = 0x03;
const UTF8_STRING = 0x0c;
const SEQUENCE = 0x30;
const SET = 0x31;
const ATTRIBUTES = 0xa0;
/** RFC 2986, section 4: v1. */
const VERSION = Buffer.from([INTEGER, 1, 0]);
/** 2.5.4.3, id-at-commonName. */
const COMMON_NAME = Buffer.from("0603550403", "hex");
/** ecdsa-with-SHA256 (RFC 5758, section 3.2): 1.2.840.10045.4.3.2, parameters absent. */
const ECDSA_WITH_SHA256 = Buffer.from("300a06082a8648ce3d040302", "hex");
const MAX_NAME_LENGTH = 64;

/**
 * @param commonName 1 to 64 characters (RFC 5280, ub-common-name)
 * @param keys of P-256; the private one signs, to prove that the requester holds it
 * @throws RangeError for the name, TypeError for another kind of key
 */
export function certificateRequest(commonName: string, keys: { readonly publicKey: KeyObject; readonly privateKey: KeyObject }): Buffer {
  if (commonName.length === 0 || commonName.length > MAX_NAME_LENGTH)
    throw new RangeError(`common name of ${commonName.length} characters, want 1..${MAX_NAME_LENGTH}`);
  if (keys.publicKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") throw new TypeError("want a key of P-256");
  const subject = der(SEQUENCE, der(SET, der(SEQUENCE, COMMON_NAME, der(UTF8_STRING, Buffer.from(commonName)))));
  const information = der(SEQUENCE, VERSION, subject, keys.publicKey.export({ type: "spki", format: "der" }), der(ATTRIBUTES));
  const signature = sign("sha256", information, { key: keys.privateKey, dsaEncoding: "der" });
  return der(SEQUENCE, information, ECDSA_WITH_SHA256, der(BIT_STRING, Buffer.of(0), signature));
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  // The short form, or one byte that says how many follow: a request is far below the 64 KiB of two.
  const length =
    content.length < 0x80 ? [content.length] : content.length < 0x100 ? [0x81, content.length] : [0x82, content.length >> 8, content.length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...length), content]);
}
