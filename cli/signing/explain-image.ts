/** What a policy makes of an image in its registry: the judgement that the verifier would make of a container of it. */
import { NotaryProjectVerifier } from "@hullmark/verifier/adapters/notary/index";
import { SigstoreVerifier } from "@hullmark/verifier/adapters/sigstore/index";
import { matchRule } from "@hullmark/verifier/core/policy/match";
import type { Policy, PolicyRule, SelectableContainer } from "@hullmark/verifier/core/policy/types";
import { collectArtefacts, type ImageSubject, type ProvenanceVerdict, parseManifest, verifyProvenance } from "@hullmark/verifier/core/provenance/index";
import { MAX_MANIFEST_BYTES, type Registry } from "@hullmark/verifier/ports/registry";
import { type FoundImage, findImage, subjectsOf } from "./registry.ts";

export interface ExplainOptions {
  /** What selectors look at besides the image's reference. */
  readonly container: Omit<SelectableContainer, "imageReference">;
  /** Of an index: which platform's image. */
  readonly platform: string | undefined;
  readonly nowMs: number;
}

export interface ExplainedImage {
  readonly image: FoundImage;
  /** undefined: no rule of the policy selects it. */
  readonly rule: PolicyRule | undefined;
  readonly verdict: ProvenanceVerdict;
  /** Whether the rule asks for anything: else what was found is only shown. */
  readonly required: boolean;
}

/** @throws RegistryError, ProvenanceError, SigningError where nothing can be judged */
export async function explainImage(
  registry: Registry,
  policy: Policy,
  reference: string,
  options: ExplainOptions,
  signal: AbortSignal,
): Promise<ExplainedImage> {
  const image = await findImage(registry, reference, signal);
  const subjects = subjectsOf(image, options.platform);
  const { artefacts, incomplete } = await collectArtefacts(registry, subjects, signal);
  const rule = matchRule(policy, { ...options.container, imageReference: reference });
  const configDigest = await configOf(registry, image, subjects[0], signal);
  const verdict = verifyProvenance(
    {
      ...{ artefacts, incomplete, tag: image.tag, atMs: options.nowMs, subjects: subjects.map(({ digest }) => digest) },
      ...{
        authorities: policy.authorities,
        trustRoots: policy.trustRoots,
        trustStores: policy.trustStores,
        revocations: policy.revocations,
        builders: policy.builders,
      },
      ...{ signatures: rule?.signatures, attestations: rule?.attestations ?? [], build: rule?.build },
      ...(configDigest !== undefined && { configDigest }),
      ...(rule && { rule: rule.name }),
    },
    { sigstore: new SigstoreVerifier(), notary: new NotaryProjectVerifier() },
  );
  const required = rule !== undefined && (rule.signatures !== undefined || rule.attestations.length > 0 || rule.build !== undefined);
  return { image, rule, verdict, required };
}

/** A revocation may name it. undefined: an index, of which no platform was chosen. */
async function configOf(registry: Registry, image: FoundImage, subject: ImageSubject | undefined, signal: AbortSignal): Promise<string | undefined> {
  if (subject?.kind !== "manifest") return undefined;
  const { repository, digest } = subject;
  const { bytes, mediaType } = digest === image.digest ? image : await registry.manifest(repository, digest, MAX_MANIFEST_BYTES, signal);
  const manifest = parseManifest(bytes, mediaType);
  return manifest.kind === "manifest" ? manifest.config.digest : undefined;
}
