/** What is known of one image as one kind of node names it, and what follows for provenance. */
import { compileNames } from "@hullmark/proto/codec";
import { ProvenanceStatus } from "@hullmark/proto/v1/query";
import type { ProvenanceRow } from "../../ports/rows.ts";
import type { ProvenanceInput } from "../appraisal/types.ts";
import type { Policy, PolicyRule } from "../policy/types.ts";
import {
  askedScans,
  type CollectedArtefacts,
  type ImageResolution,
  ProvenanceError,
  type ProvenanceVerdict,
  type ResolvedImage,
  revokedDigest,
  type ProvenanceStatus as StatusName,
  type TrustedFiles,
  tryParseReference,
  type Verifiers,
  verifyProvenance,
} from "../provenance/index.ts";
import type { AttestedReport } from "../vulnerabilities/attested.ts";
import type { Vouched } from "../vulnerabilities/image-findings.ts";
import type { Moment } from "./doubts.ts";
import type { ImageQuestion, LoadedImage, MissingImage } from "./types.ts";

/** The part of an entry that changes as answers come in. */
export interface ImageKnowledge {
  readonly image: LoadedImage | MissingImage;
  readonly resolved: ResolvedImage | undefined;
  /** Why it is not resolved, where that is an answer. */
  readonly failure: Exclude<ImageResolution, { kind: "resolved" }> | undefined;
  readonly artefacts: CollectedArtefacts | undefined;
  /** When the reading began that brought `artefacts`, or `failure`, wholly; undefined: never. */
  readonly readAt?: Moment | undefined;
  /** Whose word its files rest on; undefined: that of its own layers. */
  readonly files?: TrustedFiles | undefined;
}

export const NOTHING_KNOWN: ImageKnowledge = {
  image: { missing: "resolving", detail: "looking the image up" },
  resolved: undefined,
  failure: undefined,
  artefacts: undefined,
};

const STATUS: Readonly<Record<StatusName, ProvenanceStatus>> = {
  signed: ProvenanceStatus.SIGNED,
  unsigned: ProvenanceStatus.UNSIGNED,
  "wrong-key": ProvenanceStatus.WRONG_KEY,
  "other-digest": ProvenanceStatus.OTHER_DIGEST,
  "moved-tag": ProvenanceStatus.MOVED_TAG,
  "attestation-only": ProvenanceStatus.ATTESTATION_ONLY,
  "attestation-missing": ProvenanceStatus.ATTESTATION_MISSING,
  revoked: ProvenanceStatus.REVOKED,
  malformed: ProvenanceStatus.MALFORMED,
  unknown: ProvenanceStatus.UNKNOWN,
};

/** Reports that people imported for an image that has one of these digests. */
export type ImportedReports = (digests: readonly string[]) => readonly Vouched[];

export interface JudgedEntry {
  readonly known: ImageKnowledge;
  readonly question: Pick<ImageQuestion, "configDigest" | "imageId" | "imageReference" | "repoDigests">;
}

export interface ProvenanceResult {
  readonly input: ProvenanceInput;
  readonly row: ProvenanceRow;
  /** Reports on vulnerabilities that an authority signed. */
  readonly reports: readonly AttestedReport[];
  /** URLs of authorities' answers on which it rests. */
  readonly answers: readonly string[];
  /** Of a certificate on which it would rest nobody can tell whether it was taken back. */
  readonly untold: boolean;
  /** Nothing that may be attached to it would make it another. */
  readonly certain: boolean;
}

/** What policy's rule for a container makes of what is known of its image; where that is nothing, of the digests that its node names. */
export function judgeProvenance(
  { known, question }: JudgedEntry,
  policy: Policy,
  rule: PolicyRule | undefined,
  verifiers: Verifiers,
  nowMs: number,
  imported: ImportedReports = () => [],
): ProvenanceResult {
  const required = rule !== undefined && (rule.signatures !== undefined || rule.attestations.length > 0 || rule.build !== undefined);
  const plain = (status: StatusName, text: string, certain = false): ProvenanceResult => ({
    input: { status, text, required },
    row: rowOf(status, text, undefined),
    ...{ answers: [], reports: [], untold: false, certain },
  });
  const { resolved, failure, artefacts } = known;
  const barred = resolved ? undefined : revokedDigest(policy.revocations, namedDigests(question));
  if (barred !== undefined) return plain("revoked", barred, true);
  if (failure) return plain(failureStatus(failure), failure.text);
  if (!resolved || !artefacts) return plain("unknown", "missing" in known.image ? known.image.detail : "signatures are being looked up");
  try {
    const verdict = verifyProvenance(
      {
        subjects: resolved.subjects.map(({ digest }) => digest),
        artefacts: artefacts.artefacts,
        incomplete: artefacts.incomplete,
        configDigest: resolved.configDigest,
        authorities: policy.authorities,
        trustRoots: policy.trustRoots,
        trustStores: policy.trustStores,
        revocations: policy.revocations,
        ...(rule && { rule: rule.name }),
        signatures: rule?.signatures,
        attestations: rule?.attestations ?? [],
        build: rule?.build,
        ...{ registries: rule?.registries ?? [], baseLayers: rule?.baseLayers ?? [], layers: [resolved.config.diffIds] },
        scans: askedScans(rule, () => [{ digests: digestsOf(resolved), imported: imported(digestsOf(resolved)) }]),
        repository: repositoryOf(resolved, question.imageReference, rule?.registries ?? []),
        builders: policy.builders,
        tag: resolved.tag,
        atMs: nowMs,
      },
      verifiers,
    );
    const { status, certain } = verdict;
    const [refusal] = required ? verdict.refusals : [];
    const text = refusal ? `${verdict.text}. Asked for: ${refusal.requirement}. Would do: ${refusal.remedy}` : verdict.text;
    const untold = verdict.artefacts.some(({ code }) => code === "revocation-unknown");
    return { input: { status, text, required }, row: rowOf(status, text, verdict), answers: verdict.answers, reports: verdict.reports, untold, certain };
  } catch (error) {
    if (!(error instanceof ProvenanceError)) throw error;
    return plain("unknown", error.message);
  }
}

/** The same, not told before its registry was asked again. */
export function heldBack(result: ProvenanceResult): ProvenanceResult {
  const text = `its registry is asked again before anybody is told: ${result.input.text}`;
  return { ...result, input: { ...result.input, status: "unknown", text }, row: rowOf("unknown", text, undefined) };
}

/** Of the image itself: an index may list others. */
function digestsOf({ configDigest, manifestDigest, subjects }: ResolvedImage): string[] {
  return [...new Set([manifestDigest, configDigest, ...subjects.filter(({ kind }) => kind === "manifest").map(({ digest }) => digest)])];
}

/** Where the image counts as found: where it was started from, if it is there; else, of all places in which it was, one that the rule allows. */
export function repositoryOf({ repository, subjects }: ResolvedImage, imageReference: string, allowed: readonly string[]): string {
  const places = [repository, ...subjects.map((subject) => subject.repository)];
  const written = tryParseReference(imageReference)?.repository;
  return places.find((place) => place === written) ?? places.find(compileNames(allowed)) ?? repository;
}

/** As the node says: whoever lies here bars his own image at the most. */
function namedDigests({ configDigest, imageId, imageReference, repoDigests }: JudgedEntry["question"]): readonly string[] {
  return [configDigest, imageId, imageReference, ...repoDigests].map((name) => name.slice(name.lastIndexOf("@") + 1));
}

function failureStatus(failure: NonNullable<ImageKnowledge["failure"]>): StatusName {
  switch (failure.kind) {
    case "moved-tag":
      return "moved-tag";
    case "other-config":
      return "other-digest";
    case "malformed":
      return "malformed";
    case "no-reference":
    case "unreachable":
      return "unknown";
  }
}

function rowOf(status: StatusName, text: string, verdict: ProvenanceVerdict | undefined): ProvenanceRow {
  const { repository = "", commit = "", builder = "", invocation = "" } = verdict?.source ?? {};
  return {
    status: STATUS[status],
    text: text.slice(0, 1024),
    authorities: verdict?.signedBy ?? [],
    sourceRepository: repository,
    commit,
    builder,
    buildInvocation: invocation,
  };
}
