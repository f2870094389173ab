/** What a policy makes of an image in its registry: the judgement that the verifier would make of a container of it. */
import { matchRule } from "@hullmark/verifier/core/policy/match";
import type { Policy, PolicyRule, SelectableContainer } from "@hullmark/verifier/core/policy/types";
import {
  askedScans,
  chainIdsOf,
  type ImageSubject,
  MAX_CONFIG_BYTES,
  ProvenanceError,
  type ProvenanceVerdict,
  parseConfig,
  readBlob,
} from "@hullmark/verifier/core/provenance/index";
import { type Registry, RegistryError } from "@hullmark/verifier/ports/registry";
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
  /** Chain ids of its layers, lowest first, by the last of which a policy names it as a base; undefined: of an index without a platform, or not to be had. */
  readonly chains: readonly string[] | undefined;
}

/** @throws RegistryError, ProvenanceError, SigningError where nothing can be judged */
export async function explainImage(
  registry: Registry,
  policy: Policy,
  reference: string,
  options: ExplainOptions,
  signal: AbortSignal,
): Promise<ExplainedImage> {
  const { image, subjects, consult } = await examineImage(registry, reference, options, signal);
  const rule = matchRule(policy, { ...options.container, imageReference: options.selectAs ?? reference });
  const config = await configOf(registry, image, subjects[0], signal);
  const { authorities, trustRoots, trustStores, revocations, builders } = policy;
  const verdict = await consult({
    ...{ authorities, trustRoots, trustStores, revocations, builders },
    ...{ signatures: rule?.signatures, attestations: rule?.attestations ?? [], build: rule?.build, registries: rule?.registries ?? [] },
    ...{ baseLayers: rule?.baseLayers ?? [], layers: config?.diffIds && [config.diffIds] },
    ...(config && { configDigest: config.digest }),
    ...(rule && { rule: rule.name }),
    // What was imported only the verifier knows.
    scans: askedScans(rule, () => (config ? [{ digests: [...subjects.map(({ digest }) => digest), config.digest], imported: [] }] : [])),
  });
  const required = rule !== undefined && (rule.signatures !== undefined || rule.attestations.length > 0 || rule.build !== undefined);
  return { image, rule, verdict, required, chains: config?.diffIds && chainIdsOf(config.diffIds) };
}

/** A revocation may name it, and a rule what it is built on. undefined: an index, of which no platform was chosen. */
async function configOf(
  registry: Registry,
  image: FoundImage,
  subject: ImageSubject | undefined,
  signal: AbortSignal,
): Promise<{ readonly digest: string; readonly diffIds: readonly string[] | undefined } | undefined> {
  if (subject?.kind !== "manifest") return undefined;
  const manifest = await manifestOf(registry, image, subject.digest, signal);
  if (manifest.kind !== "manifest") return undefined;
  const { digest } = manifest.config;
  try {
    return { digest, diffIds: parseConfig(await readBlob(registry, image.repository, digest, MAX_CONFIG_BYTES, signal)).diffIds };
  } catch (error) {
    if (!(error instanceof RegistryError) && !(error instanceof ProvenanceError)) throw error;
    // What else is asked of it can be told all the same; a policy that asks for its layers cannot.
    return { digest, diffIds: undefined };
  }
}
