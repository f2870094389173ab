/** Resolve, collect and judge in one go, as the verifier's image service does step by step: for tests that have a registry and no service. */
import type {
  AttestationRequirement,
  Authority,
  BuildRequirement,
  Revocation,
  SignatureRequirement,
  TrustedBuilder,
} from "@hullmark/verifier/core/policy/types";
import {
  type CollectedArtefacts,
  collectArtefacts,
  type ImageResolution,
  type ProvenanceStatus,
  type ProvenanceVerdict,
  type RuntimeImage,
  resolveImage,
  type TrustMaterial,
  type Verifiers,
  verifyProvenance,
} from "@hullmark/verifier/core/provenance/index";
import type { Registry } from "@hullmark/verifier/ports/registry";

interface ExaminedImage {
  readonly resolution: ImageResolution;
  /** Empty where the image was not resolved. */
  readonly collected: CollectedArtefacts;
}

interface Trust extends TrustMaterial {
  readonly authorities: readonly Authority[];
  readonly revocations: readonly Revocation[];
  /** undefined: any one of the authorities will do. */
  readonly signatures: SignatureRequirement | undefined;
  readonly attestations: readonly AttestationRequirement[];
  readonly build: BuildRequirement | undefined;
  readonly builders: readonly TrustedBuilder[];
}

export interface JudgedImage {
  readonly status: ProvenanceStatus;
  readonly text: string;
  readonly satisfied: boolean;
  /** undefined where the image was not resolved, so that there was nothing to verify. */
  readonly verdict: ProvenanceVerdict | undefined;
}

/** @throws the signal's reason; failures of the registry are part of the result */
export async function examineImage(registry: Registry, runtime: RuntimeImage, signal: AbortSignal): Promise<ExaminedImage> {
  const resolution = await resolveImage(registry, runtime, signal);
  if (resolution.kind !== "resolved") return { resolution, collected: { artefacts: [], incomplete: [] } };
  const { subjects, incomplete } = resolution.image;
  const collected = await collectArtefacts(registry, subjects, signal);
  return { resolution, collected: { artefacts: collected.artefacts, incomplete: [...incomplete, ...collected.incomplete] } };
}

/**
 * @param atMs Unix milliseconds at which keys must be valid
 * @throws ProvenanceError BAD_KEY where the trust itself cannot be used
 */
export function judgeImage({ resolution, collected }: ExaminedImage, trust: Trust, verifiers: Verifiers, atMs: number): JudgedImage {
  if (resolution.kind !== "resolved") return { status: UNRESOLVED[resolution.kind], text: resolution.text, satisfied: false, verdict: undefined };
  const { subjects, tag, configDigest, repository } = resolution.image;
  const verdict = verifyProvenance(
    {
      ...trust,
      ...collected,
      subjects: [...new Set(subjects.map(({ digest }) => digest))],
      configDigest,
      tag,
      atMs,
      repository,
      registries: [],
      baseLayers: [],
    },
    verifiers,
  );
  return { status: verdict.status, text: verdict.text, satisfied: verdict.satisfied, verdict };
}

/** What is not in a registry has no signature that could be looked up: neither signed nor unsigned. */
const UNRESOLVED: Readonly<Record<Exclude<ImageResolution["kind"], "resolved">, ProvenanceStatus>> = {
  "moved-tag": "moved-tag",
  "other-config": "other-digest",
  "no-reference": "unknown",
  malformed: "malformed",
  unreachable: "unknown",
};
