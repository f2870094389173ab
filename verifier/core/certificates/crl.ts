/**
 * Certificate revocation lists (RFC 5280, section 5). Read here and not by a library: those make objects of every entry (230 ms of a list of a thousand), and most lists are long.
 * Who wrote the bytes is known only by {@link isSignedBy}.
 */
import { constants, type KeyObject, verify } from "node:crypto";
import type { ASN1Obj } from "@sigstore/core";
import { element, elements, INTEGER, parsed, SEQUENCE, unsigned } from "./der.ts";

export const MAX_LIST_BYTES = 4 << 20;

export interface CrlExtension {
  readonly critical: boolean;
  /** DER. */
  readonly value: Buffer;
}

export interface CertificateList {
  /** DER of the Name. */
  readonly issuer: Buffer;
  /** Unix milliseconds. */
  readonly thisUpdateMs: number;
  readonly nextUpdateMs: number | undefined;
  /** By OID. */
  readonly extensions: ReadonlyMap<string, CrlExtension>;
  /** RevokedCertificate, one after the other. */
  readonly entries: Buffer;
  readonly signed: Buffer;
  readonly algorithm: ASN1Obj;
  readonly signature: Buffer;
}

export interface CrlEntry {
  readonly revokedAtMs: number;
  /** CRLReason (RFC 5280, 5.3.1); 0 where none is given. */
  readonly reason: number;
  /** Since when the key was in doubt, Unix milliseconds; undefined: not said. */
  readonly invalidSinceMs: number | undefined;
  /** OIDs of critical extensions. */
  readonly critical: readonly string[];
}

/** @throws what is no list, or longer than {@link MAX_LIST_BYTES} */
export function readCrl(der: Buffer): CertificateList {
  if (der.length > MAX_LIST_BYTES) throw new Error(`a list of more than ${MAX_LIST_BYTES} bytes`);
  const outer = element(der, 0);
  if (outer.tag !== SEQUENCE) throw new Error("no list");
  if (outer.end !== der.length) throw new Error("a list with bytes after its end");
  const body = der.subarray(outer.start, outer.end);
  const [tbs, algorithm, signature, more] = [...elements(body)].map(({ at, end }) => body.subarray(at, end));
  if (!tbs || !algorithm || !signature || more) throw new Error("no list");
  const { start, tag } = element(tbs, 0);
  if (tag !== SEQUENCE) throw new Error("no list");
  const fields = [...elements(tbs.subarray(start))].map((each) => ({ tag: each.tag, der: tbs.subarray(start + each.at, start + each.end) }));
  if (fields[0]?.tag === INTEGER) fields.shift();
  const [inner, issuer, thisUpdate, ...rest] = fields;
  if (!inner?.der.equals(algorithm) || issuer?.tag !== SEQUENCE || !thisUpdate) throw new Error("no list");
  const nextUpdate = rest[0]?.tag === UTC_TIME || rest[0]?.tag === GENERALIZED_TIME ? rest.shift() : undefined;
  const revoked = rest[0]?.tag === SEQUENCE ? rest.shift() : undefined;
  const extensions = rest[0]?.tag === EXTENSIONS ? rest.shift() : undefined;
  if (rest.length > 0) throw new Error("a list of other fields");
  return {
    ...{ issuer: issuer.der, signed: tbs, algorithm: parsed(algorithm), signature: bits(parsed(signature)) },
    thisUpdateMs: timeOf(parsed(thisUpdate.der)),
    nextUpdateMs: nextUpdate && timeOf(parsed(nextUpdate.der)),
    entries: revoked ? revoked.der.subarray(element(revoked.der, 0).start) : Buffer.alloc(0),
    extensions: readExtensions(extensions && parsed(extensions.der).subs[0]),
  };
}

const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const EXTENSIONS = 0xa0;
const REASON = "2.5.29.21";
const INVALIDITY = "2.5.29.24";

/** @param serial without leading zeros @throws where an entry cannot be read */
export function entriesOf({ entries }: CertificateList, serial: Buffer): CrlEntry[] {
  const found: CrlEntry[] = [];
  for (const { at, start, end, tag } of elements(entries)) {
    const number = element(entries, start);
    if (tag !== SEQUENCE || number.tag !== INTEGER || number.end > end) throw new Error("a list with an entry that is none");
    if (unsigned(entries.subarray(number.start, number.end)).equals(serial)) found.push(readEntry(parsed(entries.subarray(at, end))));
  }
  return found;
}

function readEntry({ subs: [, date, extra, more] }: ASN1Obj): CrlEntry {
  if (!date || more) throw new Error("a list with an entry that is none");
  const extensions = readExtensions(extra);
  const [reason, invalid] = [extensions.get(REASON), extensions.get(INVALIDITY)];
  return {
    revokedAtMs: timeOf(date),
    reason: reason ? (parsed(reason.value).value[0] ?? 0) : 0,
    invalidSinceMs: invalid && timeOf(parsed(invalid.value)),
    critical: [...extensions].flatMap(([type, { critical }]) => (critical && type !== REASON && type !== INVALIDITY ? [type] : [])),
  };
}

/** Unix milliseconds. @throws where it is the time of no day */
function timeOf(time: ASN1Obj): number {
  const ms = time.toDate().getTime();
  if (Number.isNaN(ms)) throw new Error("a list with a date that is none");
  return ms;
}

/** CRLNumber (RFC 5280, 5.2.3). */
export const NUMBER = "2.5.29.20";

/** Of an extension that is one number; undefined: not there. @throws where it is none */
export function numberOf({ extensions }: Pick<CertificateList, "extensions">, type: string): bigint | undefined {
  const extension = extensions.get(type);
  return extension && parsed(extension.value).toInteger();
}

/** Extensions (RFC 5280, 4.2). @throws where one is there twice */
function readExtensions(all: ASN1Obj | undefined): Map<string, CrlExtension> {
  const extensions = new Map<string, CrlExtension>();
  for (const { subs } of all?.subs ?? []) {
    const [type, second, third] = subs;
    const value = third ?? second;
    if (!type || !value || subs.length > 3 || extensions.has(type.toOID())) throw new Error("a list with extensions that are none");
    // The octet string's content; the reader may have looked into it.
    extensions.set(type.toOID(), { critical: third !== undefined && second?.toBoolean() === true, value: contentOf(value) });
  }
  return extensions;
}

function contentOf(octets: ASN1Obj): Buffer {
  const der = octets.toDER();
  return der.subarray(element(der, 0).start);
}

function bits(string: ASN1Obj): Buffer {
  const content = contentOf(string);
  if (content[0] !== 0) throw new Error("a signature that is none");
  return content.subarray(1);
}

/** RFC 5758, 4055, 8410. */
const ALGORITHMS: Readonly<Record<string, { readonly kind: string; readonly digest: string | null }>> = {
  "1.2.840.10045.4.3.2": { kind: "ec", digest: "sha256" },
  "1.2.840.10045.4.3.3": { kind: "ec", digest: "sha384" },
  "1.2.840.10045.4.3.4": { kind: "ec", digest: "sha512" },
  "1.2.840.113549.1.1.11": { kind: "rsa", digest: "sha256" },
  "1.2.840.113549.1.1.12": { kind: "rsa", digest: "sha384" },
  "1.2.840.113549.1.1.13": { kind: "rsa", digest: "sha512" },
  "1.3.101.112": { kind: "ed25519", digest: null },
};
const RSA_PSS = "1.2.840.113549.1.1.10";
const PSS_DIGESTS: Readonly<Record<string, string>> = {
  "2.16.840.1.101.3.4.2.1": "sha256",
  "2.16.840.1.101.3.4.2.2": "sha384",
  "2.16.840.1.101.3.4.2.3": "sha512",
};

export function isSignedBy({ signed, algorithm: { subs }, signature }: CertificateList, key: KeyObject): boolean {
  const type = subs[0]?.toOID() ?? "";
  if (type === RSA_PSS) {
    const digest = PSS_DIGESTS[subs[1]?.subs[0]?.subs[0]?.subs[0]?.toOID() ?? ""];
    if (digest === undefined || key.asymmetricKeyType !== "rsa") return false;
    return verify(digest, signed, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO }, signature);
  }
  const algorithm = ALGORITHMS[type];
  return algorithm !== undefined && key.asymmetricKeyType === algorithm.kind && verify(algorithm.digest, signed, key, signature);
}
