/** Signatures by certificate, verified by the sigstore library against a trust root. What it leaves out is checked here: what the certificate is for, and whom exactly it names. */
import { hash, X509Certificate as NodeCertificate } from "node:crypto";
import type { Bundle } from "@sigstore/bundle";
import type { RFC3161Timestamp, X509Certificate } from "@sigstore/core";
import { TrustedRoot } from "@sigstore/protobuf-specs";
import { type SignedEntity, type TrustMaterial, toSignedEntity, toTrustMaterial, VerificationError, Verifier } from "@sigstore/verify";
import { FULCIO_EXTENSIONS } from "../../core/provenance/fulcio-extensions.ts";
import {
  type CertificateProblem,
  type CertificateVerdict,
  type CertifiedSigner,
  type RootRequirements,
  SignatureFormatError,
  type SignedObject,
  type VerifyingRoot,
} from "../../ports/signature-verifier.ts";
import type { Material } from "./material.ts";

const MAX_ROOT_CHARS = 1 << 20;
const CODE_SIGNING = "1.3.6.1.5.5.7.3.3";
const SUBJECT_ALT_NAME = "2.5.29.17";
const ISSUER_V1 = "1.3.6.1.4.1.57264.1.1";
const ISSUER_V2 = "1.3.6.1.4.1.57264.1.8";
const MAX_NAME_BYTES = 1024;

export interface SigstoreRoot extends VerifyingRoot {
  readonly material: TrustMaterial;
}

/** @throws SignatureFormatError KEY */
export function readTrustRoot(json: string): SigstoreRoot {
  const bad = (why: string, cause?: unknown) => new SignatureFormatError("KEY", `the trust root ${why}`, { cause });
  if (json.length > MAX_ROOT_CHARS) throw bad("is too long");
  try {
    const material = toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(json)), () => {
      throw new SignatureFormatError("KEY", "a trust root has no bare keys");
    });
    if (material.certificateAuthorities.length === 0) throw bad("names no certificate authority");
    return { id: hash("sha256", json), material };
  } catch (cause) {
    if (cause instanceof SignatureFormatError) throw cause;
    throw bad("cannot be read", cause);
  }
}

export function verifyByCertificate(signed: SignedObject, { material: trust }: SigstoreRoot, { log, sct }: RootRequirements): CertificateVerdict {
  const { bundle, timestamped, signatures } = signed.material as Material;
  const failed = (problem: CertificateProblem, detail: string): CertificateVerdict => ({ ok: false, problem, detail });
  if (!bundle) return failed("malformed", "no certificate");
  if (signatures.length !== 1) return failed("malformed", "several signatures with one certificate");
  try {
    const entity = entityOf(bundle, signed, timestamped);
    if (!namesOneAlgorithm(entity)) return failed("certificate", "the certificate names two algorithms of its signature");
    if (!entity.tlogEntries.every(proofIsOfCheckpoint)) return failed("log-proof", "the proof is of another tree than its checkpoint");
    const signedAtMs = earliest(entity);
    if (signedAtMs === undefined) return failed("time-missing", "nothing proves when it was signed: no timestamp and no dated log entry");
    const verifier = new Verifier(trust, { tlogThreshold: log ? 1 : 0, ctlogThreshold: sct ? 1 : 0, timestampThreshold: 1 });
    verifier.verify(entity);
    return identify(entity, signedAtMs);
  } catch (error) {
    if (error instanceof VerificationError) return failed(problemOf(error), error.message);
    // The library reads ASN.1 and protobuf that anybody may have written: what it cannot read it throws at.
    return failed("malformed", error instanceof Error ? error.message.slice(0, 200) : "cannot be read");
  }
}

/** The library takes size and root from the signed checkpoint and leaves the proof's own unread: two of one thing must agree. */
function proofIsOfCheckpoint({ inclusionProof }: SignedEntity["tlogEntries"][number]): boolean {
  if (!inclusionProof) return true;
  const [, size, root] = inclusionProof.checkpoint?.envelope.split("\n") ?? [];
  return inclusionProof.treeSize === size && inclusionProof.rootHash.toString("base64") === root;
}

/** The one outside is not signed: it must be the one inside (RFC 5280, 4.1.1.2). The library takes one that it does not know for the key's default. */
function namesOneAlgorithm({ key }: SignedEntity): boolean {
  if (key.$case !== "certificate") return true;
  const { root, tbsCertificate } = key.certificate;
  const [outer, inner] = [root.subs[1], tbsCertificate.subs[2]];
  return outer !== undefined && inner !== undefined && outer.toDER().equals(inner.toDER());
}

function entityOf(bundle: Bundle, { payload, payloadType }: SignedObject, timestamped: Buffer | undefined): SignedEntity {
  const entity = toSignedEntity(bundle, payloadType === undefined ? payload : undefined);
  if (!timestamped || entity.timestamps.every(({ $case }) => $case !== "timestamp-authority")) return entity;
  const { signature } = entity;
  return {
    ...entity,
    signature: {
      signature: timestamped,
      compareSignature: (bytes) => signature.compareSignature(bytes),
      compareDigest: (digest) => signature.compareDigest(digest),
      compareSignedDigest: (digest) => signature.compareSignedDigest(digest),
      verifySignature: (key) => signature.verifySignature(key),
    },
  };
}

/** Of the times that the library will verify: a log's time counts with its promise only, as there. Unix milliseconds. */
function earliest({ timestamps }: SignedEntity): number | undefined {
  const times = timestamps.flatMap((each) => {
    if (each.$case === "timestamp-authority") return [(each.timestamp as RFC3161Timestamp).signingTime.getTime()];
    return each.tlogEntry.inclusionPromise ? [Number(each.tlogEntry.integratedTime) * 1000] : [];
  });
  const min = Math.min(...times);
  return Number.isFinite(min) ? min : undefined;
}

function problemOf({ code, message }: VerificationError): CertificateProblem {
  switch (code) {
    case "TIMESTAMP_ERROR":
      return message.startsWith("expected") ? "time-missing" : "time";
    case "CERTIFICATE_ERROR":
      return /\bSCTs?\b/.test(message) ? "certificate-log" : "certificate";
    case "TLOG_ERROR":
    case "TLOG_MISSING_INCLUSION_ERROR":
      return "log-missing";
    case "TLOG_INCLUSION_PROMISE_ERROR":
      return "log-promise";
    case "TLOG_INCLUSION_PROOF_ERROR":
      return "log-proof";
    case "TLOG_BODY_ERROR":
      return "log-content";
    case "SIGNATURE_ERROR":
      return "signature";
    default:
      return "malformed";
  }
}

/** Call with a certificate that has been verified. */
function identify({ key }: SignedEntity, signedAtMs: number): CertificateVerdict {
  if (key.$case !== "certificate") return { ok: false, problem: "malformed", detail: "no certificate" };
  const { certificate } = key;
  if (!(new NodeCertificate(certificate.root.toDER()).keyUsage ?? []).includes(CODE_SIGNING))
    return { ok: false, problem: "usage", detail: "the certificate is not one for signing code" };
  const signer = readSigner(certificate, signedAtMs);
  return typeof signer === "string" ? { ok: false, problem: "identity", detail: signer } : { ok: true, signer };
}

function readSigner(certificate: X509Certificate, signedAtMs: number): CertifiedSigner | string {
  const names = certificate.extension(SUBJECT_ALT_NAME)?.valueObj.subs[0]?.subs ?? [];
  const [name] = names;
  // The library would take the first of several, and its ASCII is any byte with the highest bit cut off.
  if (!name || names.length > 1 || !(name.tag.isContextSpecific(6) || name.tag.isContextSpecific(1)))
    return "the certificate does not name exactly one subject by URI or e-mail address";
  const subject = plain(name.value);
  if (!subject) return "the certificate's subject is not plain ASCII";
  const v2 = certificate.extension(ISSUER_V2)?.valueObj.subs[0]?.value;
  const issuer = v2 ?? certificate.extension(ISSUER_V1)?.value;
  const extensions: Record<string, string> = {};
  for (const [oid, label] of FULCIO_EXTENSIONS) {
    const value = certificate.extension(oid)?.valueObj.subs[0]?.value;
    if (value) extensions[label] = plain(value) ?? "";
  }
  const keyId = hash("sha256", certificate.publicKey, "base64");
  return { issuer: issuer ? (plain(issuer) ?? "") : "", subject, keyId, extensions, signedAtMs };
}

function plain(bytes: Buffer): string | undefined {
  return bytes.length <= MAX_NAME_BYTES && bytes.every((byte) => byte >= 0x20 && byte < 0x7f) ? bytes.toString("latin1") : undefined;
}
