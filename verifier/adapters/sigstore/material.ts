/** From bundles, envelopes and cosign's annotations to what the sigstore library verifies. Strict: nothing is guessed, one encoding for each content. */
import { hash } from "node:crypto";
import {
  BUNDLE_V01_MEDIA_TYPE,
  BUNDLE_V02_MEDIA_TYPE,
  BUNDLE_V03_LEGACY_MEDIA_TYPE,
  BUNDLE_V03_MEDIA_TYPE,
  type Bundle,
  bundleFromJSON,
  type TransparencyLogEntry,
  toDSSEBundle,
  toMessageSignatureBundle,
} from "@sigstore/bundle";
import { crypto } from "@sigstore/core";
import { type CosignAnnotations, SignatureFormatError, type SignedObject } from "../../ports/signature-verifier.ts";
import { decodeBase64, parseJsonObject } from "./strict.ts";

const MAX_SIGNATURES = 8;
export const MAX_SIGNATURE_BYTES = 2048;
const MAX_CERTIFICATE_CHARS = 65_536;
const MAX_ANNOTATION_CHARS = 1 << 20;
const MAX_LOG_ENTRIES = 8;
const BUNDLE_TYPES: ReadonlySet<unknown> = new Set([BUNDLE_V01_MEDIA_TYPE, BUNDLE_V02_MEDIA_TYPE, BUNDLE_V03_LEGACY_MEDIA_TYPE, BUNDLE_V03_MEDIA_TYPE]);

/** What stands behind {@link SignedObject.material}. */
export interface Material {
  /** 1..8. */
  readonly signatures: readonly Buffer[];
  /** With the certificate and all that vouches for it; undefined where there is no certificate. */
  readonly bundle: Bundle | undefined;
  /** Bytes that a timestamp is over, where that is not the signature: cosign's older attestations have it over the envelope. */
  readonly timestamped: Buffer | undefined;
  /** SHA-256 over everything that it was opened from, hex. */
  readonly contentId: string;
}

interface OpenEnvelope {
  readonly payload: Buffer;
  readonly payloadType: string;
  readonly signatures: readonly Buffer[];
}

export function openBundle(bytes: Uint8Array): SignedObject {
  const json = parseJsonObject(bytes);
  if (!BUNDLE_TYPES.has(json["mediaType"])) throw new SignatureFormatError("FORMAT", "not a sigstore bundle of version 0.1, 0.2 or 0.3");
  let bundle: Bundle;
  try {
    bundle = bundleFromJSON(json);
  } catch (cause) {
    throw new SignatureFormatError("FORMAT", "not a sigstore bundle", { cause });
  }
  checkEncodings(json["verificationMaterial"]);
  if (bundle.content.$case !== "dsseEnvelope")
    throw new SignatureFormatError("FORMAT", "a bundle without an envelope: a signature over a file, not over an image");
  const { content, tlogEntries, timestampVerificationData } = bundle.verificationMaterial;
  if (tlogEntries.length > MAX_LOG_ENTRIES || (timestampVerificationData?.rfc3161Timestamps.length ?? 0) > MAX_LOG_ENTRIES)
    throw new SignatureFormatError("FORMAT", `a bundle with more than ${MAX_LOG_ENTRIES} log entries or timestamps`);
  const keyHint = content.$case === "publicKey" ? content.publicKey.hint : undefined;
  const { payload, payloadType, signatures } = openEnvelope(json["dsseEnvelope"]);
  const { dsseEnvelope } = bundle.content;
  // What the library will verify must be what is read here.
  if (
    !payload.equals(dsseEnvelope.payload) ||
    payloadType !== dsseEnvelope.payloadType ||
    !signatures[0]?.equals(dsseEnvelope.signatures[0]?.sig ?? Buffer.alloc(0))
  )
    throw new SignatureFormatError("FORMAT", "a bundle that can be read in two ways");
  return signedObject(payload, payloadType, signatures, {
    contentId: idOf("bundle", bytes),
    keyHint,
    bundle: content.$case === "publicKey" ? undefined : bundle,
  });
}

/** Bytes in what vouches for a bundle, by the names of their fields (sigstore_bundle.proto, sigstore_rekor.proto). */
const BYTES: ReadonlySet<string> = new Set(["rawBytes", "keyId", "signedEntryTimestamp", "rootHash", "hashes", "canonicalizedBody", "signedTimestamp"]);

/** The library's decoder skips what it does not know. @throws SignatureFormatError FORMAT */
function checkEncodings(value: unknown): void {
  if (typeof value !== "object" || value === null) return;
  for (const [name, inner] of Object.entries(value)) {
    if (!BYTES.has(name)) checkEncodings(inner);
    else for (const each of Array.isArray(inner) ? inner : [inner]) decodeBase64(String(each));
  }
}

export function openBareEnvelope(bytes: Uint8Array, annotations: CosignAnnotations | undefined): SignedObject {
  const { payload, payloadType, signatures } = openEnvelope(parseJsonObject(bytes));
  const contentId = idOf("envelope", bytes, annotations);
  const certificate = readCertificate(annotations);
  if (!certificate || !annotations) return signedObject(payload, payloadType, signatures, { contentId });
  const [signature, ...more] = signatures;
  if (!signature || more.length > 0) throw new SignatureFormatError("FORMAT", "an envelope of several signatures with one certificate");
  const bundle = toDSSEBundle({ artifact: payload, artifactType: payloadType, signature, certificate, certificateChain: true });
  return signedObject(payload, payloadType, signatures, { contentId, bundle: vouchedFor(bundle, annotations), timestamped: Buffer.from(bytes) });
}

export function openMessage(bytes: Uint8Array, signatureBase64: string, annotations: CosignAnnotations | undefined): SignedObject {
  const payload = Buffer.from(bytes);
  if (signatureBase64.length > MAX_SIGNATURE_BYTES * 2) throw new SignatureFormatError("FORMAT", "a signature that is too long");
  const signature = decodeBase64(signatureBase64);
  if (signature.length === 0) throw new SignatureFormatError("FORMAT", "a payload without a signature");
  const contentId = idOf("message", bytes, [signatureBase64, annotations]);
  const certificate = readCertificate(annotations);
  if (!certificate || !annotations) return signedObject(payload, undefined, [signature], { contentId });
  const bundle = toMessageSignatureBundle({ digest: crypto.digest("sha256", payload), signature, certificate, certificateChain: true });
  return signedObject(payload, undefined, [signature], { contentId, bundle: vouchedFor(bundle, annotations) });
}

function signedObject(
  payload: Buffer,
  payloadType: string | undefined,
  signatures: readonly Buffer[],
  { contentId, keyHint, bundle, timestamped }: { contentId: string; keyHint?: string | undefined; bundle?: Bundle | undefined; timestamped?: Buffer },
): SignedObject {
  const material: Material = { signatures, bundle, timestamped, contentId };
  return { payload, payloadType, keyHint, certificate: bundle !== undefined, material };
}

function idOf(kind: string, bytes: Uint8Array, beside: unknown = null): string {
  return hash("sha256", JSON.stringify([kind, hash("sha256", bytes), beside]));
}

function openEnvelope(value: unknown): OpenEnvelope {
  const bad = () => new SignatureFormatError("FORMAT", "not a DSSE envelope");
  if (typeof value !== "object" || value === null) throw bad();
  const { payloadType, payload, signatures } = value as Record<string, unknown>;
  if (typeof payloadType !== "string" || payloadType.length > 255 || typeof payload !== "string" || !Array.isArray(signatures)) throw bad();
  if (signatures.length === 0 || signatures.length > MAX_SIGNATURES)
    throw new SignatureFormatError("FORMAT", `an envelope with ${signatures.length} signatures, want 1 to ${MAX_SIGNATURES}`);
  const decoded = signatures.map((entry: unknown) => {
    const sig = typeof entry === "object" && entry !== null && "sig" in entry ? entry.sig : undefined;
    if (typeof sig !== "string" || sig.length === 0 || sig.length > MAX_SIGNATURE_BYTES * 2) throw bad();
    return decodeBase64(sig);
  });
  const body = decodeBase64(payload);
  if (body.length === 0) throw bad();
  return { payloadType, payload: body, signatures: decoded };
}

function readCertificate(annotations: CosignAnnotations | undefined): Buffer | undefined {
  const text = annotations?.certificate;
  if (text === undefined) return undefined;
  const [, body] = text.length > MAX_CERTIFICATE_CHARS ? [] : (/^-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*$/.exec(text) ?? []);
  if (body === undefined) throw new SignatureFormatError("FORMAT", "a certificate that is not one block of PEM");
  return decodeBase64(body.replaceAll(/\s/g, ""));
}

/** The bundle with what the annotations say of log and time. */
function vouchedFor<T extends Bundle>(bundle: T, { rekorBundle, timestamp }: CosignAnnotations): T {
  const tlogEntries = rekorBundle === undefined ? [] : [logEntry(annotation(rekorBundle, "the log's bundle"))];
  const rfc3161Timestamps =
    timestamp === undefined ? [] : [{ signedTimestamp: decodeBase64(text(annotation(timestamp, "the timestamp"), "SignedRFC3161Timestamp")) }];
  return { ...bundle, verificationMaterial: { ...bundle.verificationMaterial, tlogEntries, timestampVerificationData: { rfc3161Timestamps } } };
}

/** sigstore/cosign, pkg/cosign/bundle/rekor.go. */
function logEntry(json: Record<string, unknown>): TransparencyLogEntry {
  const payload = json["Payload"];
  if (typeof payload !== "object" || payload === null) throw new SignatureFormatError("FORMAT", "a log bundle without payload");
  const { body, integratedTime, logIndex, logID } = payload as Record<string, unknown>;
  if (typeof body !== "string" || typeof logID !== "string" || !/^[0-9a-f]{64}$/.test(logID) || !isCount(integratedTime) || !isCount(logIndex))
    throw new SignatureFormatError("FORMAT", "a log bundle without body, time, index or log id");
  const canonicalizedBody = decodeBase64(body);
  const { kind, apiVersion } = parseJsonObject(canonicalizedBody);
  if (typeof kind !== "string" || typeof apiVersion !== "string") throw new SignatureFormatError("FORMAT", "a log entry without kind");
  return {
    canonicalizedBody,
    integratedTime: String(integratedTime),
    logIndex: String(logIndex),
    logId: { keyId: Buffer.from(logID, "hex") },
    kindVersion: { kind, version: apiVersion },
    inclusionPromise: { signedEntryTimestamp: decodeBase64(text(json, "SignedEntryTimestamp")) },
    inclusionProof: undefined,
  };
}

function annotation(json: string, what: string): Record<string, unknown> {
  if (json.length > MAX_ANNOTATION_CHARS) throw new SignatureFormatError("FORMAT", `${what} is too long`);
  return parseJsonObject(Buffer.from(json));
}

function text(json: Record<string, unknown>, name: string): string {
  const value = json[name];
  if (typeof value !== "string") throw new SignatureFormatError("FORMAT", `an annotation without ${name}`);
  return value;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
