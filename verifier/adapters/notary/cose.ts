/** The COSE envelope: COSE_Sign1 (RFC 9052 section 4.2), Notary Project signature-envelope-cose.md. */
import { decode, encode, type TagDecoder } from "cborg";
import { HEADER, MAX_CHAIN, MAX_SIGNATURE_BYTES, malformed, type OpenEnvelope } from "./envelope.ts";

const ALG = 1;
const CRIT = 2;
const CONTENT_TYPE = 3;
const X5CHAIN = 33;
const FORMAT_HEADERS: ReadonlySet<unknown> = new Set([ALG, CRIT, CONTENT_TYPE]);
/** IANA COSE algorithms → as JWS names them. */
const ALGORITHMS: ReadonlyMap<unknown, string> = new Map([
  [-7, "ES256"],
  [-35, "ES384"],
  [-36, "ES512"],
  [-37, "PS256"],
  [-38, "PS384"],
  [-39, "PS512"],
]);

/** Seconds since 1970 (RFC 8949 section 3.4.2). */
class EpochTime {
  readonly seconds: number;

  constructor(seconds: unknown) {
    if (typeof seconds !== "number" || !Number.isSafeInteger(seconds)) throw malformed("a time that is no whole number of seconds");
    this.seconds = seconds;
  }
}
class Sign1 {
  readonly parts: readonly unknown[];

  constructor(parts: unknown) {
    if (!Array.isArray(parts) || parts.length !== 4) throw malformed("not a COSE_Sign1");
    this.parts = parts;
  }
}

const TAGS: Record<number, TagDecoder> = { 1: (inner) => new EpochTime(inner()), 18: (inner) => new Sign1(inner()) };

export function openCose(bytes: Uint8Array): OpenEnvelope {
  const message = read(bytes);
  if (!(message instanceof Sign1)) throw malformed("not a tagged COSE_Sign1");
  const [protectedBytes, unprotected, payload, signature] = message.parts;
  if (!(protectedBytes instanceof Uint8Array) || !(unprotected instanceof Map) || !(payload instanceof Uint8Array) || !(signature instanceof Uint8Array))
    throw malformed("a COSE_Sign1 of other parts");
  if (signature.length === 0 || signature.length > MAX_SIGNATURE_BYTES) throw malformed("an envelope without a signature of a known size");
  const headers = read(protectedBytes);
  if (!(headers instanceof Map)) throw malformed("a protected header that is no map");
  for (const label of headers.keys()) if (unprotected.has(label)) throw malformed("a header both protected and not");
  const critical: unknown = headers.get(CRIT);
  const contentType: unknown = headers.get(CONTENT_TYPE);
  const scheme: unknown = headers.get(HEADER.scheme);
  if (!Array.isArray(critical) || critical.length > 64 || typeof contentType !== "string" || typeof scheme !== "string")
    throw malformed("a protected header without crit, content type or signing scheme");
  const token: unknown = unprotected.get(HEADER.timestamp);
  if (token !== undefined && !(token instanceof Uint8Array)) throw malformed("a timestamp that is no bytes");
  return {
    payload: Buffer.from(payload),
    contentType,
    algorithm: ALGORITHMS.get(headers.get(ALG)) ?? "",
    critical: critical.map(String),
    attributes: [...headers.keys()].filter((label) => !FORMAT_HEADERS.has(label)).map(String),
    scheme,
    authenticTimeMs: instant(headers.get(HEADER.authenticTime)),
    expiryMs: instant(headers.get(HEADER.expiry)),
    // Sig_structure, RFC 9052 section 4.4.
    signed: Buffer.from(encode(["Signature1", protectedBytes, new Uint8Array(0), payload])),
    signature: Buffer.from(signature),
    chain: chainOf(unprotected.get(X5CHAIN)),
    timestampToken: token && Buffer.from(token),
  };
}

function read(bytes: Uint8Array): unknown {
  try {
    return decode(bytes, { useMaps: true, rejectDuplicateMapKeys: true, strict: true, allowIndefinite: false, tags: TAGS });
  } catch (cause) {
    throw malformed("not CBOR in its shortest form", cause);
  }
}

function instant(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  if (!(value instanceof EpochTime)) throw malformed("a time that is none");
  return value.seconds * 1000;
}

function chainOf(value: unknown): readonly Buffer[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0 || list.length > MAX_CHAIN || !list.every((item): item is Uint8Array => item instanceof Uint8Array))
    throw malformed(`an envelope without certificates, or with more than ${MAX_CHAIN}`);
  return list.map((item) => Buffer.from(item));
}
