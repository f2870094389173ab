/** An RFC 3161 token over a signature, by an authority of the trust store. The token's imprint and signature are verified by @sigstore/core. */
import { X509Certificate } from "node:crypto";
import { ASN1Obj, crypto, RFC3161Timestamp } from "@sigstore/core";
import { serialOf, unsigned } from "../../core/certificates/der.ts";
import { TIME_STAMPING, validAt } from "./chain.ts";

const MAX_CERTIFICATES = 16;
/** PKIStatusInfo "granted": the library reads whole answers, envelopes hold the token alone. */
const GRANTED = Buffer.from("3003020100", "hex");

export interface ProvenTime {
  /** When the signature existed at the latest, Unix milliseconds. */
  readonly atMs: number;
  /** Who says so, up to a certificate of the trust store. */
  readonly chain: readonly X509Certificate[];
}

/** @throws where the token does not hold */
export function provenTime(token: Buffer, signature: Buffer, roots: readonly X509Certificate[]): ProvenTime {
  const timestamp = RFC3161Timestamp.parse(Buffer.from(sequence(Buffer.concat([GRANTED, token]))));
  const atMs = timestamp.signingTime.getTime();
  const certificates = certificatesOf(token);
  const signer = certificates.find((each) => serialOf(each).equals(unsigned(timestamp.signerSerialNumber)));
  if (!signer) throw new Error("the timestamp does not bring its signer's certificate");
  // RFC 3161, 2.3: for this and nothing else.
  if ((signer.keyUsage ?? []).join() !== TIME_STAMPING) throw new Error("the timestamp's certificate is for something else");
  let current = signer;
  const seen = [signer];
  while (!roots.some((root) => root.raw.equals(current.raw))) {
    const issuer: X509Certificate | undefined = [...roots, ...certificates].find(
      (each) => each.ca && !seen.includes(each) && current.checkIssued(each) && current.verify(each.publicKey),
    );
    if (!issuer) throw new Error("the timestamp's certificate is not issued by an authority of the trust store");
    seen.push(issuer);
    current = issuer;
  }
  if (!seen.every((each) => validAt(each, atMs))) throw new Error("a certificate of the timestamp was not valid at its time");
  timestamp.verify(signature, crypto.createPublicKey(Buffer.from(signer.publicKey.export({ type: "spki", format: "der" }))));
  return { atMs, chain: seen };
}

/** SignedData.certificates, [0] IMPLICIT (RFC 5652 section 5.1). */
function certificatesOf(token: Buffer): X509Certificate[] {
  const signedData = ASN1Obj.parseBuffer(Buffer.from(token)).subs[1]?.subs[0];
  const set = signedData?.subs.find(({ tag }) => tag.isContextSpecific(0));
  const all = set?.subs ?? [];
  if (all.length > MAX_CERTIFICATES) throw new Error(`a timestamp with more than ${MAX_CERTIFICATES} certificates`);
  return all.map((each) => new X509Certificate(each.toDER()));
}

function sequence(content: Buffer): Buffer {
  const { length } = content;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : length < 65_536 ? [0x82, length >> 8, length & 255] : undefined;
  if (!size) throw new Error("a timestamp that is too long");
  return Buffer.concat([Buffer.of(0x30, ...size), content]);
}
