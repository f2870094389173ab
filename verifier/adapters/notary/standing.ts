/** A certificate held against a list of its issuer's (trust-store-trust-policy.md, "Revocation Checking with CRL"). Pure. */
import type { X509Certificate } from "node:crypto";
import { type CertificateList, type CrlEntry, entriesOf, isSignedBy, NUMBER, numberOf } from "../../core/certificates/crl.ts";
import { parsed, serialOf, urisIn } from "../../core/certificates/der.ts";
import { KeyUsageFlags, KeyUsagesExtension, ReadCertificate } from "./x509.ts";

const ISSUING_POINT = "2.5.29.28";
const DELTA_INDICATOR = "2.5.29.27";
const FRESHEST = "2.5.29.46";
/** RFC 5280, 5.3.1. */
const HOLD = 6;
const REMOVED = 8;
const REASONS: Readonly<Record<number, string>> = {
  ...{ 0: "unspecified", 1: "key compromise", 2: "compromise of the authority", 3: "affiliation changed", 4: "superseded" },
  ...{ 5: "cessation of operation", 6: "certificate hold", 9: "privilege withdrawn", 10: "compromise of the attribute authority" },
};
/** Of clocks that are not ours. */
const MAX_AHEAD_MS = 5 * 60_000;

export type Standing = { readonly kind: "good" } | { readonly kind: "revoked"; readonly detail: string } | Unknown;
export interface Unknown {
  readonly kind: "unknown";
  readonly detail: string;
}

export const GOOD: Standing = { kind: "good" };

export function unknown(detail: string): Unknown {
  return { kind: "unknown", detail };
}

/** Revoked wins over what cannot be told, and that over good. */
export function worstOf(standings: readonly Standing[]): Standing {
  return standings.find(({ kind }) => kind === "revoked") ?? standings.find(({ kind }) => kind === "unknown") ?? GOOD;
}

export interface Times {
  /** Unix milliseconds. */
  readonly nowMs: number;
  /** Proven by a timestamp; undefined: not. */
  readonly signedAtMs: number | undefined;
}

/** One certificate of a chain with the next. */
export interface Issued {
  readonly certificate: X509Certificate;
  readonly issuer: X509Certificate;
}

export function isIssuedBy(list: CertificateList, issuer: X509Certificate): boolean {
  return list.issuer.equals(Buffer.from(new ReadCertificate(issuer.raw).subjectName.toArrayBuffer()));
}

/** By the fingerprint of whose certificate it was held against: a long list is hashed once. */
const SIGNED = new WeakMap<CertificateList, Map<string, boolean>>();

function isSigned(list: CertificateList, { fingerprint256, publicKey }: X509Certificate): boolean {
  const held = SIGNED.get(list) ?? new Map<string, boolean>();
  SIGNED.set(list, held);
  const signed = held.get(fingerprint256) ?? isSignedBy(list, publicKey);
  held.set(fingerprint256, signed);
  return signed;
}

/** URLs of the list of changes since a list, where it names any (RFC 5280, 5.2.6). */
export function freshestOf({ extensions }: CertificateList): readonly string[] {
  const extension = extensions.get(FRESHEST);
  return extension ? urisIn(parsed(extension.value)) : [];
}

/**
 * @param urls of the distribution points that the certificate names: a list that is for others only says nothing of it. Empty: it names none
 * @param delta the list of changes that goes with it @throws what cannot be read
 */
export function standingByList(issued: Issued, base: CertificateList, delta: CertificateList | undefined, urls: readonly string[], times: Times): Standing {
  const lists = delta ? [base, delta] : [base];
  for (const list of lists) {
    const wrong = listProblem(list, issued, urls);
    if (wrong !== undefined) return unknown(wrong);
  }
  const wrong = delta ? deltaProblem(base, delta) : isDelta(base) ? "a list of changes stands where a whole one belongs" : undefined;
  if (wrong !== undefined) return unknown(wrong);
  const serial = serialOf(issued.certificate);
  if (serial.length === 0) return unknown("a certificate without a serial number that could be looked for");
  const entries = lists.flatMap((list) => entriesOf(list, serial));
  for (const entry of entries) {
    const found = standingByEntry(entry, issued, times);
    if (found.kind === "unknown" || (found.kind === "revoked" && entry.reason !== HOLD)) return found;
  }
  const stale = lists.map((list) => dateProblem(list, times.nowMs)).find((problem) => problem !== undefined);
  if (stale !== undefined) return unknown(stale);
  // Held, unless a later list takes that back.
  const last = entries.at(-1);
  return last ? standingByEntry(last, issued, times) : GOOD;
}

function standingByEntry({ critical, reason, revokedAtMs, invalidSinceMs }: CrlEntry, { certificate }: Issued, { signedAtMs }: Times): Standing {
  if (critical.length > 0) return unknown(`a list has an entry with the critical extension ${critical[0]}, which is not known here`);
  if (reason === REMOVED || (invalidSinceMs !== undefined && signedAtMs !== undefined && signedAtMs < invalidSinceMs)) return GOOD;
  const when = new Date(revokedAtMs).toISOString();
  return {
    kind: "revoked",
    detail: `the certificate ${nameOf(certificate)} was revoked on ${when} by its authority: ${REASONS[reason] ?? `reason ${reason}`}`,
  };
}

/** Why nothing of it may be believed: it is not the issuer's, not whole, or not about this certificate. @param urls as {@link standingByList} has them */
export function listProblem(list: CertificateList, { certificate, issuer }: Issued, urls: readonly string[]): string | undefined {
  const usage = new ReadCertificate(issuer.raw).getExtension(KeyUsagesExtension);
  if (!usage || (usage.usages & KeyUsageFlags.cRLSign) === 0) return `${nameOf(issuer)} may not sign lists`;
  if (!isIssuedBy(list, issuer) || !isSigned(list, issuer)) return `a list that ${nameOf(issuer)} did not sign`;
  const strange = [...list.extensions].find(([type, { critical }]) => critical && type !== ISSUING_POINT && type !== DELTA_INDICATOR);
  if (strange) return `a list with the critical extension ${strange[0]}, which is not known here`;
  return scopeProblem(list, certificate, urls);
}

/** IssuingDistributionPoint (RFC 5280, 5.2.5): whoever stands between could hand out a list that is for other certificates. */
export function scopeProblem({ extensions }: CertificateList, { ca }: X509Certificate, urls: readonly string[]): string | undefined {
  const point = extensions.get(ISSUING_POINT);
  if (!point) return undefined;
  const scope = parsed(point.value);
  const fields = scope.subs.map(({ tag }) => tag.number);
  if (fields.includes(1) && ca) return "a list that is for certificates of no authorities";
  if (fields.includes(2) && !ca) return "a list that is for certificates of authorities";
  if (fields.some((field) => field > 2)) return "a list that is for some reasons, for other authorities or for attributes only";
  if (urls.length > 0 && fields.includes(0) && !urisIn(scope).some((url) => urls.includes(url))) return "a list of another distribution point";
  return undefined;
}

export function isToCome({ thisUpdateMs }: CertificateList, nowMs: number): boolean {
  return thisUpdateMs - nowMs > MAX_AHEAD_MS;
}

function dateProblem(list: CertificateList, nowMs: number): string | undefined {
  const { thisUpdateMs, nextUpdateMs } = list;
  if (nextUpdateMs === undefined) return "a list that does not say until when it is good";
  if (isToCome(list, nowMs)) return `a list of ${new Date(thisUpdateMs).toISOString()}, which is to come`;
  return nowMs > nextUpdateMs ? `the list was good until ${new Date(nextUpdateMs).toISOString()}` : undefined;
}

export function isDelta({ extensions }: CertificateList): boolean {
  return extensions.has(DELTA_INDICATOR);
}

function deltaProblem(base: CertificateList, delta: CertificateList): string | undefined {
  const [own, changes, from] = [numberOf(base, NUMBER), numberOf(delta, NUMBER), numberOf(delta, DELTA_INDICATOR)];
  if (isDelta(base) || own === undefined || changes === undefined || from === undefined) return "a list of changes that is none";
  return from > own || changes < own ? "a list of changes that does not go with its list" : undefined;
}

export function nameOf({ subject, serialNumber }: X509Certificate): string {
  return `${subject.replaceAll("\n", ", ").slice(0, 200)} (serial ${serialNumber.slice(0, 40)})`;
}
