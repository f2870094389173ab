/**
 * EK certificates (TCG EK Credential Profile for TPM 2.0, 3.2): a chain from the certificate in the TPM to a configured maker root.
 * Everything but the roots comes from an unauthenticated node. A valid chain says that the maker made a TPM with this EK, not that this
 * node has it: credential activation says that, and the allow-list says that the TPM is one of ours.
 */
import { hash, X509Certificate as NodeCertificate } from "node:crypto";
import "reflect-metadata";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  SubjectAlternativeNameExtension,
  X509Certificate,
} from "@peculiar/x509";
import type { EndorsementKey } from "./attestation-key.ts";

export const MAX_CERTIFICATE_BYTES = 8192;
/** A TPM may hold the issuers of two EKs. */
export const MAX_INTERMEDIATES = 8;
/** Certificates from leaf to root, both included; a CPU's TPM that certifies itself anew after each firmware has seven. */
const MAX_CHAIN = 8;
const MAX_SIGNATURE_CHECKS = 32;

const TCG_KP_EK_CERTIFICATE = "2.23.133.8.1";
const TPM_MANUFACTURER = "2.23.133.2.1";
const TPM_MODEL = "2.23.133.2.2";
const TPM_VERSION = "2.23.133.2.3";
/** Extensions that are handled here, or that only restrict what we do not do (policies, directory attributes of the TCG profile). */
const HANDLED_CRITICAL: ReadonlySet<string> = new Set(["2.5.29.19", "2.5.29.15", "2.5.29.17", "2.5.29.37", "2.5.29.32", "2.5.29.9"]);

/** What a TPM maker says of a TPM, from the SAN directory name. As stated by the maker: free text, for display. */
export interface TpmModel {
  /** For example `id:494E5443`: four characters in hex. */
  readonly manufacturer: string;
  readonly model: string;
  readonly version: string;
}

/** Certificates that an operator configured; read once. */
export interface MakerTrust {
  readonly roots: readonly ParsedCertificate[];
  /** Issuing CAs of makers that do not put them into the TPM. Not trusted by themselves. */
  readonly intermediates: readonly ParsedCertificate[];
}
export interface ParsedCertificate {
  readonly node: NodeCertificate;
  readonly parsed: X509Certificate;
}

export type EkCertificateRefusal =
  | "certificate-malformed"
  | "certificate-for-another-key"
  | "certificate-not-for-ek"
  | "certificate-critical-extension"
  | "certificate-expired"
  | "certificate-unknown-maker";
export type EkCertificateResult =
  /** `sha256` of the certificate's DER, hex. */
  | { readonly ok: true; readonly model: TpmModel; readonly rootSubject: string; readonly sha256: string }
  | { readonly ok: false; readonly reason: EkCertificateRefusal; readonly detail: string };

/** Sorts PEM or DER certificates of an operator into roots (self-signed) and intermediates. @throws Error when one cannot be parsed */
export function readMakerTrust(certificates: readonly (string | Uint8Array)[]): MakerTrust {
  const all = certificates.map((bytes) => parse(bytes));
  const isRoot = (certificate: ParsedCertificate): boolean => certificate.node.subject === certificate.node.issuer && isSignedBy(certificate, certificate);
  return { roots: all.filter(isRoot), intermediates: all.filter((certificate) => !isRoot(certificate)) };
}

/** Verifies a chain for `ek` at `nowMs` (Unix milliseconds). `presented`: intermediates that the node sent along. */
export function verifyEkCertificate(
  ek: EndorsementKey,
  certificate: Uint8Array,
  presented: readonly Uint8Array[],
  trust: MakerTrust,
  nowMs: number,
): EkCertificateResult {
  if (presented.length > MAX_INTERMEDIATES) return refuse("certificate-malformed", `${presented.length} intermediates, limit ${MAX_INTERMEDIATES}`);
  if ([certificate, ...presented].some((bytes) => bytes.length > MAX_CERTIFICATE_BYTES)) return refuse("certificate-malformed", "a certificate is too long");
  let leaf: ParsedCertificate;
  let intermediates: ParsedCertificate[];
  try {
    leaf = parseDer(certificate);
    intermediates = [...presented.map(parseDer), ...trust.intermediates];
    return checkLeaf(ek, leaf, nowMs) ?? findChain(leaf, intermediates, trust.roots, nowMs);
  } catch (error) {
    return refuse("certificate-malformed", error instanceof Error ? error.message : String(error));
  }
}

function refuse(reason: EkCertificateRefusal, detail: string): { ok: false; reason: EkCertificateRefusal; detail: string } {
  return { ok: false, reason, detail };
}

function parse(bytes: string | Uint8Array): ParsedCertificate {
  const node = new NodeCertificate(bytes);
  return { node, parsed: new X509Certificate(new Uint8Array(node.raw)) };
}

/** As a TPM holds it: the parser alone would also take PEM, and bytes after the certificate. */
function parseDer(bytes: Uint8Array): ParsedCertificate {
  const certificate = parse(bytes);
  if (Buffer.compare(certificate.node.raw, bytes) !== 0) throw new Error("not one certificate in DER");
  return certificate;
}

function isSignedBy(certificate: ParsedCertificate, issuer: ParsedCertificate): boolean {
  return certificate.node.checkIssued(issuer.node) && certificate.node.verify(issuer.node.publicKey);
}

function isValidAt({ parsed }: ParsedCertificate, nowMs: number): boolean {
  return parsed.notBefore.getTime() <= nowMs && nowMs <= parsed.notAfter.getTime();
}

function unknownCritical({ parsed }: ParsedCertificate): string | undefined {
  return parsed.extensions.find(({ critical, type }) => critical && !HANDLED_CRITICAL.has(type))?.type;
}

function checkLeaf(ek: EndorsementKey, leaf: ParsedCertificate, nowMs: number): EkCertificateResult | undefined {
  const { parsed, node } = leaf;
  if (!node.publicKey.export({ format: "der", type: "spki" }).equals(ek.spki))
    return refuse("certificate-for-another-key", "the certificate is for another key than the EK");
  const critical = unknownCritical(leaf);
  if (critical) return refuse("certificate-critical-extension", `critical extension ${critical}`);
  if (!isValidAt(leaf, nowMs)) return refuse("certificate-expired", `valid ${parsed.notBefore.toISOString()} to ${parsed.notAfter.toISOString()}`);
  if (parsed.getExtension(BasicConstraintsExtension)?.ca) return refuse("certificate-not-for-ek", "it is a CA certificate");
  const usages = parsed.getExtension(ExtendedKeyUsageExtension)?.usages;
  if (usages && !usages.includes(TCG_KP_EK_CERTIFICATE)) return refuse("certificate-not-for-ek", "extended key usage without tcg-kp-EKCertificate");
  const keyUsage = parsed.getExtension(KeyUsagesExtension)?.usages;
  const wanted = ek.public.type === "rsa" ? KeyUsageFlags.keyEncipherment : KeyUsageFlags.keyAgreement;
  if (keyUsage !== undefined && (keyUsage & wanted) === 0) return refuse("certificate-not-for-ek", "its key usage does not allow an EK");
  return undefined;
}

/** Depth-first over the candidates, bounded in depth and in signature checks. A link that fails a check is a link that is not there. */
function findChain(
  leaf: ParsedCertificate,
  intermediates: readonly ParsedCertificate[],
  roots: readonly ParsedCertificate[],
  nowMs: number,
): EkCertificateResult {
  let checks = 0;
  let expired = false;
  const search = (certificate: ParsedCertificate, depth: number, used: readonly ParsedCertificate[]): ParsedCertificate | undefined => {
    for (const issuer of [...roots, ...intermediates]) {
      if (used.includes(issuer) || !certificate.node.checkIssued(issuer.node) || ++checks > MAX_SIGNATURE_CHECKS) continue;
      if (!certificate.node.verify(issuer.node.publicKey) || !isIssuer(issuer, depth - 1)) continue;
      if (!isValidAt(issuer, nowMs)) {
        expired = true;
        continue;
      }
      if (roots.includes(issuer)) return issuer;
      const root = depth + 1 < MAX_CHAIN ? search(issuer, depth + 1, [...used, issuer]) : undefined;
      if (root) return root;
    }
    return undefined;
  };
  const root = search(leaf, 1, [leaf]);
  if (root) return { ok: true, model: modelOf(leaf), rootSubject: root.parsed.subject, sha256: hash("sha256", leaf.node.raw, "hex") };
  return expired
    ? refuse("certificate-expired", "an issuing CA has expired")
    : refuse("certificate-unknown-maker", `no chain from ${leaf.parsed.issuer} to a configured maker`);
}

/** A CA that may sign certificates, with `below` CA certificates between it and the leaf. */
function isIssuer(issuer: ParsedCertificate, below: number): boolean {
  const constraints = issuer.parsed.getExtension(BasicConstraintsExtension);
  if (!constraints?.ca || (constraints.pathLength !== undefined && constraints.pathLength < below)) return false;
  const keyUsage = issuer.parsed.getExtension(KeyUsagesExtension)?.usages;
  return (keyUsage === undefined || (keyUsage & KeyUsageFlags.keyCertSign) !== 0) && unknownCritical(issuer) === undefined;
}

function modelOf({ parsed }: ParsedCertificate): TpmModel {
  const directoryName = parsed.getExtension(SubjectAlternativeNameExtension)?.names.items.find(({ type }) => type === "dn");
  const name = directoryName && new Name(directoryName.value);
  const field = (oid: string): string => (name?.getField(oid)[0] ?? "").slice(0, 64);
  return { manufacturer: field(TPM_MANUFACTURER), model: field(TPM_MODEL), version: field(TPM_VERSION) };
}
