/**
 * Is this image signed by whom policy trusts? A pure function: artefacts and trust material in, verdict out. What it does NOT check: transparency logs
 * and timestamps (a bare key's signature stands by itself), nor whether the digests given really are the image (see resolve.ts).
 */
import type { SignatureVerifier } from "../../ports/signature-verifier.ts";
import { SignatureFormatError } from "../../ports/signature-verifier.ts";
import type { AttestationRequirement, Authority, SignatureRequirement } from "../policy/types.ts";
import type { Artefact } from "./artefact.ts";
import { ProvenanceError } from "./errors.ts";
import { type ArtefactVerdict, judgeArtefact, type ReadyAuthority } from "./judge.ts";
import type { TagState } from "./resolve.ts";
import type { BuildSource } from "./slsa.ts";
import { explain } from "./text.ts";

/** As in hullmark.v1.ProvenanceStatus. `unknown` is no verdict: something that could have changed it was not to be had. */
export type ProvenanceStatus = "signed" | "unsigned" | "wrong-key" | "other-digest" | "moved-tag" | "attestation-only" | "malformed" | "unknown";

export interface ProvenanceQuestion {
  /** Digests of manifests and indexes that are this image. */
  readonly subjects: readonly string[];
  readonly artefacts: readonly Artefact[];
  /** What could not be fetched. */
  readonly incomplete: readonly string[];
  readonly authorities: readonly Authority[];
  /** undefined: a signature by any one of the authorities will do. */
  readonly signatures: SignatureRequirement | undefined;
  readonly attestations: readonly AttestationRequirement[];
  readonly tag: TagState;
  /** Unix milliseconds at which the authorities' keys must be valid: without a trusted timestamp nobody knows when a key signed. */
  readonly atMs: number;
}

export interface AuthorityVerdict {
  readonly authority: string;
  /** The best that was found of this authority. */
  readonly status: "signed" | "attestation-only" | "outside-validity" | "other-digest" | "none";
  /** Predicate types of its attestations of this image. */
  readonly attestations: readonly string[];
}

export interface ProvenanceVerdict {
  readonly status: ProvenanceStatus;
  /** One line in plain words. */
  readonly text: string;
  /** `status` is `signed` and every attestation asked for is there. */
  readonly satisfied: boolean;
  /** Attestations asked for that are missing. */
  readonly missingAttestations: readonly string[];
  /** Authorities whose signature of this image holds. */
  readonly signedBy: readonly string[];
  readonly authorities: readonly AuthorityVerdict[];
  readonly artefacts: readonly ArtefactVerdict[];
  /** From a verified SLSA attestation of an authority; undefined: none. */
  readonly source: BuildSource | undefined;
  /** No log was asked and none is claimed. */
  readonly logChecked: false;
}

/** @throws ProvenanceError BAD_KEY where an authority's key cannot be used, or a requirement names an unknown authority: nothing can be judged then */
export function verifyProvenance(question: ProvenanceQuestion, verifier: SignatureVerifier): ProvenanceVerdict {
  const authorities = question.authorities.map((authority) => ready(authority, question.atMs, verifier));
  checkRequirements(question, authorities);
  const subjects = new Set(question.subjects);
  const artefacts = question.artefacts.map((artefact) => judgeArtefact(artefact, subjects, authorities, verifier));
  const perAuthority = authorities.map(({ name }) => judgeAuthority(name, artefacts));
  const signedBy = perAuthority.filter(({ status }) => status === "signed").map(({ authority }) => authority);
  const keyOf = new Map(authorities.map(({ name, key }) => [name, key.id]));
  const missingAttestations = question.attestations.filter((wanted) => !attested(wanted, perAuthority, keyOf)).map(({ predicateType }) => predicateType);
  const accepted = question.signatures?.authorities ?? authorities.map(({ name }) => name);
  const threshold = question.signatures?.threshold ?? 1;
  const counted = signedBy.filter((name) => accepted.includes(name));
  const enough = new Set(counted.map((name) => keyOf.get(name))).size >= threshold;
  const status = statusOf(question, artefacts, authorities.length > 0, signedBy.length > 0, enough);
  const satisfied = status === "signed" && missingAttestations.length === 0;
  const source = artefacts.find((verdict) => verdict.code === "attestation" && verdict.source)?.source;
  const text = explain({
    status,
    artefacts,
    signedBy,
    counted,
    accepted,
    threshold,
    missingAttestations,
    incomplete: question.incomplete,
    tag: question.tag,
    keys: authorities.length,
  });
  return { status, text, satisfied, missingAttestations, signedBy, authorities: perAuthority, artefacts, source, logChecked: false };
}

function ready({ name, publicKeyPem, notBeforeMs, notAfterMs }: Authority, atMs: number, verifier: SignatureVerifier): ReadyAuthority {
  const valid = (notBeforeMs === undefined || atMs >= notBeforeMs) && (notAfterMs === undefined || atMs <= notAfterMs);
  try {
    return { name, key: verifier.key(publicKeyPem), valid };
  } catch (cause) {
    if (!(cause instanceof SignatureFormatError)) throw cause;
    throw new ProvenanceError("BAD_KEY", `the key of authority ${name}: ${cause.message}`, { cause });
  }
}

/** A requirement that nothing can fail, or that nothing can meet, is a mistake and not a verdict. */
function checkRequirements({ signatures, attestations, subjects }: ProvenanceQuestion, authorities: readonly ReadyAuthority[]): void {
  if (subjects.length === 0) throw new ProvenanceError("MALFORMED", "no digest to look for");
  const known = new Set(authorities.map(({ name }) => name));
  if (known.size !== authorities.length) throw new ProvenanceError("BAD_KEY", "two authorities of one name");
  for (const { authorities: wanted, threshold } of [...(signatures ? [signatures] : []), ...attestations]) {
    const unknown = wanted.find((name) => !known.has(name));
    if (unknown !== undefined) throw new ProvenanceError("BAD_KEY", `a requirement names the authority ${unknown}, which has no key`);
    // One key under two names is still one signer.
    const distinct = new Set(authorities.filter(({ name }) => wanted.includes(name)).map(({ key }) => key.id)).size;
    if (!Number.isInteger(threshold) || threshold < 1 || threshold > distinct)
      throw new ProvenanceError("BAD_KEY", `${threshold} of ${distinct} keys cannot be required`);
  }
}

function judgeAuthority(authority: string, artefacts: readonly ArtefactVerdict[]): AuthorityVerdict {
  const own = artefacts.filter(({ authorities }) => authorities.includes(authority));
  const has = (code: ArtefactVerdict["code"]) => own.some((verdict) => verdict.code === code);
  const attestations = own.flatMap(({ code, predicateType }) => (code === "attestation" && predicateType !== undefined ? [predicateType] : []));
  const status = has("signature")
    ? "signed"
    : has("attestation")
      ? "attestation-only"
      : has("outside-validity")
        ? "outside-validity"
        : has("other-digest")
          ? "other-digest"
          : "none";
  return { authority, status, attestations: [...new Set(attestations)] };
}

function attested(
  { predicateType, authorities, threshold }: AttestationRequirement,
  verdicts: readonly AuthorityVerdict[],
  keyOf: ReadonlyMap<string, string>,
): boolean {
  const by = verdicts.filter((verdict) => authorities.includes(verdict.authority) && verdict.attestations.includes(predicateType));
  return new Set(by.map(({ authority }) => keyOf.get(authority))).size >= threshold;
}

/** From the most to the least telling. What an attacker can add to a registry may change one bad status into another, never into `signed`. */
function statusOf(question: ProvenanceQuestion, artefacts: readonly ArtefactVerdict[], anyKey: boolean, anySigned: boolean, enough: boolean): ProvenanceStatus {
  if (enough && anyKey) return "signed";
  const has = (...codes: readonly ArtefactVerdict["code"][]) => artefacts.some(({ code }) => codes.includes(code));
  if (question.incomplete.length > 0) return "unknown";
  if (!anyKey && artefacts.length > 0) return "unknown";
  if (anySigned) return "wrong-key";
  if (has("other-digest")) return "other-digest";
  if (has("altered", "malformed")) return "malformed";
  if (has("wrong-key", "outside-validity")) return "wrong-key";
  if (has("attestation")) return "attestation-only";
  return question.tag.status === "moved" ? "moved-tag" : "unsigned";
}
