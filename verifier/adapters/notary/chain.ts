/** Certificate chains as the Notary Project wants them (signature-specification.md, "Certificate requirements"), with Node's X.509 and @peculiar/x509 for what Node does not show. */
import { X509Certificate } from "node:crypto";
import { BasicConstraintsExtension, KeyUsageFlags, KeyUsagesExtension, ReadCertificate } from "./x509.ts";

export const CODE_SIGNING = "1.3.6.1.5.5.7.3.3";
export const TIME_STAMPING = "1.3.6.1.5.5.7.3.8";
const ANY_USAGE = "2.5.29.37.0";
/** For servers, clients, mail, timestamps, OCSP: a certificate that may do one of these is no signer's. */
const FOREIGN_USAGES: ReadonlySet<string> = new Set([
  ANY_USAGE,
  "1.3.6.1.5.5.7.3.1",
  "1.3.6.1.5.5.7.3.2",
  "1.3.6.1.5.5.7.3.4",
  TIME_STAMPING,
  "1.3.6.1.5.5.7.3.9",
]);

/** Key usage, alternative names, basic constraints, policies, extended key usage. What else is critical (name constraints) limits a certificate in ways that are not held here. */
const HELD_EXTENSIONS: ReadonlySet<string> = new Set(["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.32", "2.5.29.37"]);

export interface Chain {
  /** Leaf first, root last. */
  readonly certificates: readonly X509Certificate[];
  readonly leaf: ReadCertificate;
}

/** @returns the chain, or what is wrong with it @throws what the X.509 readers throw at */
export function readChain(ders: readonly Buffer[]): Chain | string {
  const certificates = ders.map((der) => new X509Certificate(der));
  // Node reads the certificate that the bytes begin with.
  const longer = certificates.findIndex(({ raw }, i) => !raw.equals(ders[i] ?? raw));
  if (longer !== -1) return `certificate ${longer} has bytes after its end`;
  const read = ders.map((der) => new ReadCertificate(der));
  for (const [i, certificate] of certificates.entries()) {
    const issuer = certificates[i + 1] ?? certificate;
    if (!certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey))
      return `certificate ${i} is not issued by the next, or the last not by itself`;
    if (i > 0 && i < certificates.length - 1 && certificate.checkIssued(certificate)) return `certificate ${i} is a root that is not the last`;
    const wrong = extensionProblem(read[i]) ?? (i === 0 ? leafProblem(certificate, read[0]) : authorityProblem(certificate, read[i], i - 1));
    if (wrong !== undefined) return `certificate ${i} ${wrong}`;
  }
  const [leaf] = read;
  return leaf ? { certificates, leaf } : "no certificate";
}

/** RFC 5280, 4.2. */
function extensionProblem(read: ReadCertificate | undefined): string | undefined {
  const extensions = read?.extensions ?? [];
  if (new Set(extensions.map(({ type }) => type)).size !== extensions.length) return "has an extension twice";
  const unknown = extensions.find(({ critical, type }) => critical && !HELD_EXTENSIONS.has(type));
  return unknown && `has the critical extension ${unknown.type}, which is not known here`;
}

function leafProblem(certificate: X509Certificate, read: ReadCertificate | undefined): string | undefined {
  const usage = read?.getExtension(KeyUsagesExtension);
  if (!usage?.critical || usage.usages !== KeyUsageFlags.digitalSignature) return "may not sign, or may do more than sign";
  if (read?.getExtension(BasicConstraintsExtension)?.ca) return "is an authority's own";
  const extended = certificate.keyUsage ?? [];
  if (extended.length > 0 && (!extended.includes(CODE_SIGNING) || extended.some((oid) => FOREIGN_USAGES.has(oid)))) return "is not one for signing code only";
  return undefined;
}

function authorityProblem(certificate: X509Certificate, read: ReadCertificate | undefined, below: number): string | undefined {
  const constraints = read?.getExtension(BasicConstraintsExtension);
  const usage = read?.getExtension(KeyUsagesExtension);
  if (!certificate.ca || !constraints?.critical) return "is no authority's";
  if (constraints.pathLength !== undefined && constraints.pathLength < below) return "may not have so many below it";
  return usage && (usage.usages & KeyUsageFlags.keyCertSign) !== 0 ? undefined : "may not issue certificates";
}

export function validAt({ validFromDate, validToDate }: X509Certificate, atMs: number): boolean {
  return validFromDate.getTime() <= atMs && atMs <= validToDate.getTime();
}
