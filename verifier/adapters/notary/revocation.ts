/** Whether the authorities of a chain have taken one of its certificates back (trust-store-trust-policy.md, "Certificate Revocation Evaluation"). Pure: answers in, standing out. */
import type { X509Certificate } from "node:crypto";
import type { ASN1Obj } from "@sigstore/core";
import { type CertificateList, readCrl } from "../../core/certificates/crl.ts";
import { parsed, urisIn } from "../../core/certificates/der.ts";
import type { ProvenLists } from "./proven.ts";
import {
  freshestOf,
  GOOD,
  type Issued,
  isDelta,
  isIssuedBy,
  isToCome,
  listProblem,
  nameOf,
  type Standing,
  scopeProblem,
  standingByList,
  type Times,
  type Unknown,
  unknown,
  worstOf,
} from "./standing.ts";
import { ReadCertificate } from "./x509.ts";

const DISTRIBUTION_POINTS = "2.5.29.31";
const FRESHEST = "2.5.29.46";
const AUTHORITY_ACCESS = "1.3.6.1.5.5.7.1.1";
const MAX_POINTS = 8;

/** Remembers what was asked for, so that it can be fetched. */
export interface Asking {
  get(url: string): Buffer | undefined;
  problem(url: string): string | undefined;
  /** What was served before, and is good still though something else is served now. */
  readonly proven: ProvenLists;
}

export interface Consulted {
  readonly standing: Standing;
  /** URLs on whose answers it rests, there or not. */
  readonly answers: readonly string[];
}

/** Lists that were read: of one answer once. */
const READ = new WeakMap<Buffer, CertificateList>();

/**
 * Every certificate but the root is held against its issuer. Revoked wins over what cannot be told, and that over good.
 * @param certificates leaf first, root last, each verified to be issued by the next @param pinned lists given by hand: where there is one of an issuer, nothing is asked of it
 */
export function standingOf(certificates: readonly X509Certificate[], pinned: readonly CertificateList[], asking: Asking, times: Times): Consulted {
  const answers = new Set<string>();
  const recording: Asking = {
    proven: asking.proven,
    problem: (url) => asking.problem(url),
    get: (url) => {
      answers.add(url);
      return asking.get(url);
    },
  };
  let worst = GOOD;
  for (const [i, certificate] of certificates.entries()) {
    const issuer = certificates[i + 1];
    if (!issuer || worst.kind === "revoked") break;
    const found = tolerant(() => standingOfOne({ certificate, issuer }, pinned, recording, times));
    if (found.kind !== "good") worst = found;
  }
  return { standing: worst, answers: [...answers] };
}

function standingOfOne(issued: Issued, pinned: readonly CertificateList[], asking: Asking, times: Times): Standing {
  const read = new ReadCertificate(issued.certificate.raw);
  const points = extensionOf(read, DISTRIBUTION_POINTS);
  const own = pinned.filter((list) => isIssuedBy(list, issued.issuer));
  if (own.length > 0) return standingByPinned(issued, own, (points?.subs ?? []).flatMap(pointUrls), times);
  if (!points) {
    // With neither there is nothing that could say so, and it counts as good.
    return extensionOf(read, AUTHORITY_ACCESS)?.subs.some(isOcsp)
      ? unknown(`${nameOf(issued.certificate)} can only be asked after by OCSP, which is not spoken here`)
      : GOOD;
  }
  if (points.subs.length > MAX_POINTS) return unknown(`${nameOf(issued.certificate)} names more than ${MAX_POINTS} lists`);
  const urls = points.subs.map(pointUrls);
  const wantsDelta = extensionOf(read, FRESHEST) !== undefined;
  return worstOf(urls.map((alternatives) => standingByPoint(issued, alternatives, urls.flat(), wantsDelta, asking, times)));
}

/** An authority may have a list for each part of its certificates: those that are for others say nothing of this one. */
function standingByPinned(issued: Issued, own: readonly CertificateList[], urls: readonly string[], times: Times): Standing {
  const problems = own.map((list) => scopeProblem(list, issued.certificate, urls));
  const about = own.filter((_, i) => problems[i] === undefined);
  if (about.length === 0) return unknown(`${nameOf(issued.certificate)} is in the scope of none of the lists that were given: ${problems[0] ?? ""}`);
  return worstOf(about.map((list) => standingByList(issued, list, undefined, urls, times)));
}

/** @param alternatives URLs of one distribution point: any of them will do */
function standingByPoint(issued: Issued, alternatives: readonly string[], all: readonly string[], wantsDelta: boolean, asking: Asking, times: Times): Standing {
  let last: Standing = unknown(`${nameOf(issued.certificate)} names a list in a way that is not known here`);
  for (const url of alternatives) {
    const list = listAt(url, issued, { all, ofChanges: false }, asking, times);
    if ("kind" in list) {
      last = list;
      continue;
    }
    const [delta] = freshestOf(list);
    // Its scope would be its own: as notation has it, the list must name it too.
    if (wantsDelta && delta === undefined) return unknown(`${nameOf(issued.certificate)} names a list of changes that its list does not name`);
    const changes = delta === undefined ? undefined : listAt(delta, issued, { all, ofChanges: true }, asking, times);
    const whole = standingByList(issued, list, undefined, all, times);
    if (whole.kind === "revoked" && (delta === undefined || "kind" in (changes ?? {}))) return whole;
    if (changes && "kind" in changes) return changes;
    last = changes ? standingByList(issued, list, changes, all, times) : whole;
    if (last.kind !== "unknown") return last;
  }
  return last;
}

/** The newest that its issuer signed: nothing of what is served is believed before that, nor where it names a list of changes. */
function listAt(
  url: string,
  issued: Issued,
  { all, ofChanges }: { readonly all: readonly string[]; readonly ofChanges: boolean },
  asking: Asking,
  { nowMs }: Times,
): CertificateList | Unknown {
  if (!url.startsWith("http://")) return unknown(`a list at ${printable(url)}, which is no http URL`);
  const der = asking.get(url);
  const served = der
    ? tolerant(() => listOf(der, issued, all, ofChanges))
    : unknown(`the list at ${printable(url)} ${asking.problem(url) ?? "has not been fetched"}`);
  const sound = "kind" in served || isToCome(served, nowMs) ? undefined : served;
  const { issuer, certificate } = issued;
  return asking.proven.newest(`${issuer.fingerprint256} ${certificate.ca} ${ofChanges} ${url}`, sound) ?? served;
}

function listOf(der: Buffer, issued: Issued, all: readonly string[], ofChanges: boolean): CertificateList | Unknown {
  const list = READ.get(der) ?? readCrl(der);
  READ.set(der, list);
  const wrong = listProblem(list, issued, all);
  if (wrong !== undefined) return unknown(wrong);
  if (isDelta(list) === ofChanges) return list;
  return unknown(ofChanges ? "a list of changes that is none" : "a list of changes stands where a whole one belongs");
}

/** URLs of one DistributionPoint (RFC 5280, 4.2.1.13); none where it is for some reasons only, or signed by another authority. */
function pointUrls({ subs }: ASN1Obj): string[] {
  if (subs.some(({ tag }) => !tag.isContextSpecific(0))) return [];
  return subs.flatMap(urisIn).slice(0, MAX_POINTS);
}

const OCSP = "1.3.6.1.5.5.7.48.1";

function isOcsp({ subs }: ASN1Obj): boolean {
  return subs[0]?.toOID() === OCSP;
}

function extensionOf(certificate: ReadCertificate, type: string): ASN1Obj | undefined {
  const extension = certificate.extensions.find((each) => each.type === type);
  return extension && parsed(new Uint8Array(extension.value));
}

/** The readers throw at what they cannot read. */
function tolerant<T>(read: () => T): T | Unknown {
  try {
    return read();
  } catch (error) {
    return unknown(error instanceof Error ? error.message.slice(0, 200) : "an answer that cannot be read");
  }
}

function printable(url: string): string {
  return JSON.stringify(url.slice(0, 256));
}
