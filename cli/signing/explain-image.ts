/** What a policy makes of an image in its registry: the judgement that the verifier would make of a container of it. */
import { matchRule } from "@hullmark/verifier/core/policy/match";
import type { Policy, PolicyRule, SelectableContainer } from "@hullmark/verifier/core/policy/types";
import type { ImageSubject, ProvenanceVerdict } from "@hullmark/verifier/core/provenance/index";
import type { Registry } from "@hullmark/verifier/ports/registry";
import { examineImage } from "./examine-image.ts";
import { type FoundImage, manifestOf } from "./registry.ts";

export interface ExplainOptions {
  /** What selectors look at besides the image's reference. */
  readonly container: Omit<SelectableContainer, "imageReference">;
  /** Reference by which rules select, where it is to be another than the one it is fetched by. */
  readonly selectAs?: string;
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
  const { image, subjects, judge } = await examineImage(registry, reference, options, signal);
  const rule = matchRule(policy, { ...options.container, imageReference: options.selectAs ?? reference });
  const configDigest = await configOf(registry, image, subjects[0], signal);
  const { authorities, trustRoots, trustStores, revocations, builders } = policy;
  const verdict = judge({
    ...{ authorities, trustRoots, trustStores, revocations, builders },
    ...{ signatures: rule?.signatures, attestations: rule?.attestations ?? [], build: rule?.build, registries: rule?.registries ?? [] },
    ...(configDigest !== undefined && { configDigest }),
    ...(rule && { rule: rule.name }),
  });
  const required = rule !== undefined && (rule.signatures !== undefined || rule.attestations.length > 0 || rule.build !== undefined);
  return { image, rule, verdict, required };
}

/** A revocation may name it. undefined: an index, of which no platform was chosen. */
async function configOf(registry: Registry, image: FoundImage, subject: ImageSubject | undefined, signal: AbortSignal): Promise<string | undefined> {
  if (subject?.kind !== "manifest") return undefined;
  const manifest = await manifestOf(registry, image, subject.digest, signal);
  return manifest.kind === "manifest" ? manifest.config.digest : undefined;
}
