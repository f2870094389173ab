/**
 * Is this image signed by whom policy trusts? Artefacts and trust material in, verdict out; nothing is fetched. What it does NOT check: transparency logs
 * and timestamps of signatures by bare keys (such a signature stands by itself), nor whether the digests given really are the image (see resolve.ts).
 */
import { compileNames } from "@hullmark/proto/codec";
import type {
  AttestationRequirement,
  Authority,
  BuildRequirement,
  PolicyRule,
  Revocation,
  RiskRequirement,
  SignatureRequirement,
  TrustedBuilder,
  VulnerabilityRequirement,
} from "../policy/types.ts";
import { riskRefusal } from "../risk/require.ts";
import { type AttestedReport, attestedReport } from "../vulnerabilities/attested.ts";
import { type ScannedImage, type ScanRefusal, scanRefusal } from "../vulnerabilities/require.ts";
import type { Artefact } from "./artefact.ts";
import { ProvenanceError } from "./errors.ts";
import { type ArtefactVerdict, type JudgedArtefact, judgeArtefact } from "./judge.ts";
import { chainIdsOf, otherBase } from "./layers.ts";
import { type Refusal, refusalsOf, type Unmet } from "./refusals.ts";
import { attestationTest, buildTest } from "./requirements.ts";
import type { TagState } from "./resolve.ts";
import { type Revocations, readyRevocations } from "./revocation.ts";
import { readyAuthority, type TrustMaterial, type Verifiers } from "./signers.ts";
import { type BuildSource, SLSA_VSA } from "./slsa.ts";
import type { ProvenanceStatus } from "./status.ts";
import { explain } from "./text.ts";
import { differentSigners, distinctVotes, tellSigners } from "./votes.ts";

export interface ProvenanceQuestion extends TrustMaterial {
  /** Digests of manifests and indexes that are this image. */
  readonly subjects: readonly string[];
  /** Of its config, where that is known: a revocation may name it. */
  readonly configDigest?: string;
  /** Of what belongs to it without being it, such as the images of an index: a revocation may name them too. */
  readonly related?: readonly string[];
  /** Diff ids, lowest first, of each image that is judged: what it is built on may be asked for or revoked. undefined: not known. */
  readonly layers?: readonly (readonly string[])[] | undefined;
  readonly artefacts: readonly Artefact[];
  /** What could not be fetched. */
  readonly incomplete: readonly string[];
  readonly authorities: readonly Authority[];
  readonly revocations: readonly Revocation[];
  /** Name of the rule that asks, for people. */
  readonly rule?: string;
  /** undefined: a signature by any one of the authorities will do. */
  readonly signatures: SignatureRequirement | undefined;
  readonly attestations: readonly AttestationRequirement[];
  readonly build: BuildRequirement | undefined;
  readonly builders: readonly TrustedBuilder[];
  /** Globs: of which one must match `repository`; empty: any. */
  readonly registries: readonly string[];
  /** Chain ids, of which each image must have one among its own; empty: any base. */
  readonly baseLayers: readonly string[];
  /** What is asked of vulnerabilities and of risk, and each image that is judged; absent: nothing. */
  readonly scans?: AskedScans | undefined;
  /** `host[:port]/name` in which the image was found: of several the one that counts. */
  readonly repository: string;
  readonly tag: TagState;
  /** Unix milliseconds at which signers must be valid whose time of signing is not proven: without a trusted timestamp nobody knows when a key signed. */
  readonly atMs: number;
}

/** At least one of `vulnerabilities` and `risk`. */
export interface AskedScans {
  readonly vulnerabilities: VulnerabilityRequirement | undefined;
  readonly risk: RiskRequirement | undefined;
  readonly images: readonly ScannedImage[];
}

/** @param images each that is judged; called where something is asked. @returns undefined: nothing is */
export function askedScans(rule: Pick<PolicyRule, "vulnerabilities" | "risk"> | undefined, images: () => readonly ScannedImage[]): AskedScans | undefined {
  return rule?.vulnerabilities || rule?.risk ? { vulnerabilities: rule.vulnerabilities, risk: rule.risk, images: images() } : undefined;
}

function refusedScan({ vulnerabilities, risk, images }: AskedScans, reports: readonly AttestedReport[], atMs: number): ScanRefusal | undefined {
  const refused = vulnerabilities && scanRefusal(vulnerabilities, images, reports, atMs);
  return refused ?? (risk && riskRefusal(risk, images, reports, atMs));
}

export interface AuthorityVerdict {
  readonly authority: string;
  /** The best that was found of this authority. */
  readonly status: "signed" | "attestation-only" | "revoked" | "outside-validity" | "other-digest" | "none";
  /** Predicate types of its attestations of this image. */
  readonly attestations: readonly string[];
}

export interface ProvenanceVerdict {
  readonly status: ProvenanceStatus;
  /** One line in plain words. */
  readonly text: string;
  /** `status` is `signed`: signatures and attestations asked for are there, and nothing is revoked. */
  readonly satisfied: boolean;
  /** No signature or attestation could make it another: it is revoked itself, or is where or on what it may not be. */
  readonly certain: boolean;
  /** What is not met, by which evidence, and what would meet it; empty where satisfied. */
  readonly refusals: readonly Refusal[];
  /** Attestations asked for that are missing. */
  readonly missingAttestations: readonly string[];
  /** Authorities whose signature of this image holds. */
  readonly signedBy: readonly string[];
  readonly authorities: readonly AuthorityVerdict[];
  readonly artefacts: readonly ArtefactVerdict[];
  /** URLs of authorities' answers about certificates on which it rests, there or not: with others it may be another. */
  readonly answers: readonly string[];
  /** Reports on vulnerabilities that an authority signed. */
  readonly reports: readonly AttestedReport[];
  /** From a verified SLSA attestation of an authority; undefined: none. */
  readonly source: BuildSource | undefined;
}

/** @throws ProvenanceError BAD_KEY where a key or trust root cannot be used, or a requirement names an unknown authority: nothing can be judged then */
export function verifyProvenance(question: ProvenanceQuestion, verifiers: Verifiers): ProvenanceVerdict {
  const authorities = question.authorities.map((authority) => readyAuthority(authority, question, verifiers));
  const revocations = readyRevocations(question.revocations, verifiers.sigstore);
  checkRequirements(question);
  const judging = { subjects: new Set(question.subjects), authorities, revocations, atMs: question.atMs };
  const judged = question.artefacts.map((artefact) => judgeArtefact(artefact, judging, verifiers));
  const artefacts = judged.map(({ verdict }) => verdict);
  const perAuthority = authorities.map(({ name }) => judgeAuthority(name, artefacts));
  const signedBy = perAuthority.filter(({ status }) => status === "signed").map(({ authority }) => authority);
  const missing = unmetOf(question, judged);
  const accepted = question.signatures?.authorities ?? authorities.map(({ name }) => name);
  const threshold = question.signatures?.threshold ?? 1;
  const enough =
    authorities.length > 0 &&
    votesFor(
      accepted,
      artefacts.filter(({ code }) => code === "signature"),
    ) >= threshold;
  const barred = barredBy(question, artefacts, revocations);
  const source = artefacts.find((verdict) => verdict.code === "attestation" && verdict.source)?.source;
  // What names a builder or commit that is trusted no more may be just what could not be had.
  const barrable = (revocations.ofBuilds && source === undefined && question.incomplete.length > 0) || (revocations.ofLayers && !question.layers);
  const elsewhere = question.registries.length > 0 && !compileNames(question.registries)(question.repository) ? question : undefined;
  const base = otherBase(question.layers, question.baseLayers);
  const reports = judged.flatMap((each, i) => reportOf(question.artefacts[i], each));
  const scan = question.scans && refusedScan(question.scans, reports, question.atMs);
  const whole = enough && missing.length === 0 && !elsewhere && !base && !barrable && !scan;
  // Where it lies and what it is built on is certain, whatever else could not be had.
  const otherwise = (): ProvenanceStatus => {
    if (enough && (elsewhere || base?.chains)) return "attestation-missing";
    if (enough && missing.length === 0 && (base || barrable)) return "unknown";
    return statusOf(question, artefacts, authorities.length > 0, signedBy.length > 0, enough);
  };
  const status = barred !== undefined ? "revoked" : whole ? "signed" : otherwise();
  const satisfied = status === "signed";
  const certain = barred !== undefined || (enough && missing.length === 0 && (elsewhere !== undefined || base?.chains !== undefined));
  const facts = {
    ...{ status, artefacts, signedBy, accepted, threshold, missing, elsewhere, base, scan, barred, authorities, enough },
    ...{ subjects: question.subjects, incomplete: question.incomplete, tag: question.tag, rule: question.rule },
    counted: signedBy.filter((name) => accepted.includes(name)),
  };
  return {
    ...{ status, satisfied, certain, signedBy, authorities: perAuthority, artefacts },
    answers: [...new Set(artefacts.flatMap((artefact) => artefact.answers))],
    text: explain(facts),
    refusals: satisfied ? [] : refusalsOf(facts),
    missingAttestations: missing.map(({ name }) => name),
    ...{ source, reports },
  };
}

function reportOf(artefact: Artefact | undefined, { verdict, predicate }: JudgedArtefact): AttestedReport[] {
  const { code, predicateType, manifestDigest, authorities, vouchers } = verdict;
  if (!artefact || code !== "attestation" || predicateType === undefined) return [];
  const report = attestedReport({ artefact, manifestDigest, predicateType, predicate, authorities, signedAtMs: vouchers[0]?.signedAtMs });
  return report ? [report] : [];
}

/** A requirement that nothing can fail, or that nothing can meet, is a mistake and not a verdict. */
function checkRequirements({ signatures, attestations, build, subjects, authorities }: ProvenanceQuestion): void {
  if (subjects.length === 0) throw new ProvenanceError("MALFORMED", "no digest to look for");
  const known = new Set(authorities.map(({ name }) => name));
  if (known.size !== authorities.length) throw new ProvenanceError("BAD_KEY", "two authorities of one name");
  for (const { authorities: wanted, threshold } of [...(signatures ? [signatures] : []), ...attestations, ...(build ? [build] : [])]) {
    const unknown = wanted.find((name) => !known.has(name));
    if (unknown !== undefined) throw new ProvenanceError("BAD_KEY", `a requirement names the authority ${unknown}, which has no key`);
    // One key under two names is still one signer.
    const distinct = differentSigners(authorities.filter(({ name }) => wanted.includes(name)));
    if (!Number.isInteger(threshold) || threshold < 1 || threshold > distinct)
      throw new ProvenanceError("BAD_KEY", `${threshold} of ${distinct} keys cannot be required`);
  }
}

function judgeAuthority(authority: string, artefacts: readonly ArtefactVerdict[]): AuthorityVerdict {
  const own = artefacts.filter(({ authorities }) => authorities.includes(authority));
  const has = (code: ArtefactVerdict["code"]) => own.some((verdict) => verdict.code === code);
  const attestations = own.flatMap(({ code, predicateType }) => (code === "attestation" && predicateType !== undefined ? [predicateType] : []));
  const found = (["revoked", "outside-validity", "other-digest"] as const).find(has);
  const status = has("signature") ? "signed" : has("attestation") ? "attestation-only" : (found ?? "none");
  return { authority, status, attestations: [...new Set(attestations)] };
}

/** The requirements on attestations that are not met, each with what there is instead. */
function unmetOf({ attestations, build, builders, atMs }: ProvenanceQuestion, judged: readonly JudgedArtefact[]): Unmet[] {
  const all = [
    ...attestations.map((wanted) => ({ name: wanted.predicateType, wanted, test: attestationTest(wanted) })),
    ...(build ? [{ name: "build", wanted: build, test: buildTest(build, builders) }] : []),
  ];
  return all.flatMap(({ name, wanted, test }) => {
    const tried = judged.flatMap(({ verdict, predicate }) => {
      if (verdict.code !== "attestation" || verdict.predicateType === undefined) return [];
      const facts = { predicateType: verdict.predicateType, predicate, source: verdict.source, signedAtMs: verdict.vouchers[0]?.signedAtMs };
      return [{ verdict, problem: test(facts, atMs) }];
    });
    const meeting = tried.filter(({ problem }) => problem === undefined).map(({ verdict }) => verdict);
    if (votesFor(wanted.authorities, meeting) >= wanted.threshold) return [];
    const by = [...new Set(meeting.flatMap(({ authorities }) => authorities))];
    const close = tried.filter(
      ({ verdict, problem }) =>
        problem !== undefined && (name === "build" ? verdict.source !== undefined || verdict.predicateType === SLSA_VSA : verdict.predicateType === name),
    );
    return [{ name, wanted, by, close: close.map(({ verdict, problem = "" }) => `${verdict.manifestDigest.slice(0, 19)}… ${problem}`) }];
  });
}

/** Different signers among `wanted`. */
export function votesFor(wanted: readonly string[], counting: readonly ArtefactVerdict[]): number {
  const signersOf = new Map(wanted.map((name) => [name, new Set<string>()]));
  const votes = counting.flatMap(({ vouchers }) => vouchers.filter(({ authority }) => signersOf.has(authority)));
  const signer = tellSigners(votes.map(({ principal, keyId }) => [principal, `key ${keyId}`]));
  for (const { authority, principal } of votes) signersOf.get(authority)?.add(signer(principal));
  return distinctVotes(signersOf);
}

/** A digest, builder or commit that is trusted no more bars the image whoever signed it. */
function barredBy(
  { subjects, configDigest, related = [], layers = [] }: ProvenanceQuestion,
  artefacts: readonly ArtefactVerdict[],
  revocations: Revocations,
): string | undefined {
  const image = revocations.ofImage([...subjects, ...related, ...(configDigest === undefined ? [] : [configDigest])]);
  if (image !== undefined) return image;
  const builtOn = revocations.ofLayers ? revocations.ofBase(layers.flatMap(chainIdsOf)) : undefined;
  if (builtOn !== undefined) return builtOn;
  for (const { code, source, vouchers } of artefacts) {
    if ((code !== "attestation" && code !== "outside-validity") || !source) continue;
    const barred = revocations.ofBuild(source, vouchers[0]?.signedAtMs);
    if (barred !== undefined) return barred;
  }
  return undefined;
}

/** Why it is not signed, from the most to the least telling. What an attacker can add to a registry may change one bad status into another, never into `signed`. */
function statusOf(
  question: ProvenanceQuestion,
  artefacts: readonly ArtefactVerdict[],
  anyAuthority: boolean,
  anySigned: boolean,
  enough: boolean,
): ProvenanceStatus {
  const has = (...codes: readonly ArtefactVerdict["code"][]) => artefacts.some(({ code }) => codes.includes(code));
  if (question.incomplete.length > 0) return "unknown";
  if (enough) return "attestation-missing";
  if (!anyAuthority && artefacts.length > 0) return "unknown";
  if (has("revocation-unknown")) return "unknown";
  if (has("revoked")) return "revoked";
  if (anySigned) return "wrong-key";
  if (has("other-digest")) return "other-digest";
  if (has("altered", "malformed")) return "malformed";
  if (has("wrong-key", "wrong-identity", "untrusted", "expired", "outside-validity")) return "wrong-key";
  if (has("attestation")) return "attestation-only";
  return question.tag.status === "moved" ? "moved-tag" : "unsigned";
}
