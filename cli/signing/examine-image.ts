/** An image in its registry with what is attached to it, as `verify`, `policy explain` and `policy init` judge it. */
import { HttpRevocationAnswers, NotaryProjectVerifier } from "@hullmark/verifier/adapters/notary/index";
import { SigstoreVerifier } from "@hullmark/verifier/adapters/sigstore/index";
import {
  collectArtefacts,
  consulting,
  type ImageSubject,
  type ProvenanceQuestion,
  type ProvenanceVerdict,
  verifyProvenance,
} from "@hullmark/verifier/core/provenance/index";
import type { Registry } from "@hullmark/verifier/ports/registry";
import { type FoundImage, findImage, subjectsOf } from "./registry.ts";

/** Who is asked for, and for what. What is left out is not asked for, or not there. */
export type Demands = Pick<ProvenanceQuestion, "authorities" | "scans"> &
  Partial<Omit<ProvenanceQuestion, "authorities" | "repository" | "subjects" | "artefacts" | "incomplete" | "tag" | "atMs">>;

export interface ExaminedImage {
  readonly image: FoundImage;
  readonly subjects: readonly ImageSubject[];
  /** @throws ProvenanceError where a key or trust root cannot be used */
  judge(demands: Demands): ProvenanceVerdict;
  /** As `judge`, once authorities have been asked whether they have taken back the certificates on which it rests. @throws what `judge` throws; the signal's reason */
  consult(demands: Demands): Promise<ProvenanceVerdict>;
}

const NOTHING = {
  trustRoots: [],
  trustStores: [],
  revocations: [],
  builders: [],
  signatures: undefined,
  attestations: [],
  build: undefined,
  registries: [],
  baseLayers: [],
} as const;

/**
 * @param options.platform of an index: which platform's image
 * @param options.nowMs Unix milliseconds at which signers must be valid
 * @throws RegistryError, ProvenanceError, SigningError where nothing can be told
 */
export async function examineImage(
  registry: Registry,
  reference: string,
  { platform, nowMs }: { readonly platform: string | undefined; readonly nowMs: number },
  signal: AbortSignal,
): Promise<ExaminedImage> {
  const image = await findImage(registry, reference, signal);
  const subjects = subjectsOf(image, platform);
  const { artefacts, incomplete } = await collectArtefacts(registry, subjects, signal);
  const attached = { repository: image.repository, artefacts, incomplete, tag: image.tag, atMs: nowMs, subjects: subjects.map(({ digest }) => digest) };
  const answers = new HttpRevocationAnswers({ nowMs: () => nowMs });
  const verifiers = { sigstore: new SigstoreVerifier(), notary: new NotaryProjectVerifier(answers) };
  const judge = (demands: Demands) => verifyProvenance({ ...NOTHING, ...demands, ...attached }, verifiers);
  const consult = async (demands: Demands) => {
    const verdict = await consulting(() => judge(demands), answers, signal);
    signal.throwIfAborted();
    return verdict;
  };
  return { image, subjects, judge, consult };
}
