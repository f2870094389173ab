/** One image held against one rule at the cluster's door. Pure: what is known and policy in, outcome out. */

import type { SourceCommit } from "../../ports/notifier.ts";
import type { ImportedReports } from "../images/image-entry.ts";
import type { Policy, PolicyRule } from "../policy/types.ts";
import {
  askedScans,
  ProvenanceError,
  type ProvenanceQuestion,
  type ProvenanceVerdict,
  revokedDigest,
  type Verifiers,
  verifyProvenance,
} from "../provenance/index.ts";
import type { ScannedImage } from "../vulnerabilities/require.ts";
import { type AskedImage, combined, type Look, type PlatformImage } from "./lookup.ts";

/** `answers`: URLs of what authorities say of certificates, on which it rests. `source`: what it was built from, where an authority has signed that. */
export type ImageOutcome = { readonly answers?: readonly string[]; readonly source?: SourceCommit | undefined } & (
  | { readonly kind: "accepted" }
  /** `revoked`: by what is trusted no more, whatever the rule asks for. */
  | { readonly kind: "refused"; readonly revoked: boolean; readonly text: string; readonly asked: string; readonly found: string; readonly remedy: string }
  /** Nobody can tell: no verdict. */
  | { readonly kind: "unknown"; readonly text: string; readonly remedy: string }
  /** To tell, more must be known. */
  | { readonly kind: "look-deeper"; readonly look: Look }
);

/** Whether anything of policy can make this image unwelcome: else nothing need be asked of any registry. */
export function concerns(policy: Policy, rule: PolicyRule | undefined): { readonly required: boolean; readonly revocable: boolean } {
  return {
    required: rule !== undefined && (rule.signatures !== undefined || rule.attestations.length > 0 || rule.build !== undefined),
    revocable: policy.revocations.some(({ what }) => ["digest", "layers", "builder", "commits"].includes(what.kind)),
  };
}

/**
 * An index that is signed itself is signed for every platform; else each of its images must be.
 * @param architecture the only one that counts; undefined: every one, since nobody knows yet where the pod will run
 */
export function judgeImage(
  image: AskedImage,
  policy: Policy,
  rule: PolicyRule | undefined,
  architecture: string | undefined,
  verifiers: Verifiers,
  nowMs: number,
  imported: ImportedReports = () => [],
): ImageOutcome {
  const { required } = concerns(policy, rule);
  const fitting = fittingOf(image, architecture);
  const { looked } = image;
  const deeper = (depth: Look["depth"], attached = false): ImageOutcome => ({ kind: "look-deeper", look: combined(looked, { depth, attached }) });
  const revokes = (...kinds: readonly Policy["revocations"][number]["what"]["kind"][]): boolean =>
    policy.revocations.some(({ what }) => kinds.includes(what.kind));
  const barred = barredDigest(image, policy, architecture) !== undefined;
  if (
    !barred &&
    looked.depth !== "layers" &&
    ((rule?.baseLayers.length ?? 0) > 0 || rule?.vulnerabilities !== undefined || rule?.risk !== undefined || revokes("layers"))
  )
    return deeper("layers");
  if (!barred && looked.depth === "named" && revokes("digest")) return deeper("images");
  const related = relatedTo(fitting);
  const ofBuilds = revokes("builder", "commits");
  const outcome = (subjects: readonly string[], also: readonly string[], judged: readonly PlatformImage[]): ImageOutcome => {
    try {
      const scans = askedScans(rule, () => judged.map((each) => scannedImage(each, imported)));
      const verdict = verdictOf(image, policy, rule, { subjects, related: also, layers: layersOf(judged), scans }, verifiers, nowMs);
      return outcomeOf(verdict, required, ofBuilds && image.artefacts.incomplete.length > 0);
    } catch (error) {
      if (!(error instanceof ProvenanceError)) throw error;
      return { kind: "unknown", text: error.message, remedy: "correct the policy" };
    }
  };
  const whole = outcome([image.digest], related, fitting);
  if (!image.isIndex || barred || (whole.kind === "accepted" ? !ofBuilds : !required)) return whole;
  if (!looked.attached) return deeper("images", true);
  if (fitting.length === 0) return whole;
  // Not the index alone then: every image of it that may run.
  const answers = [...(whole.answers ?? [])];
  for (const platform of fitting) {
    const { digest, configDigest } = platform;
    const one = outcome([digest, image.digest], configDigest === undefined ? [] : [configDigest], [platform]);
    answers.push(...(one.answers ?? []));
    if (one.kind !== "accepted") return { ...one, answers };
  }
  return { kind: "accepted", answers, source: whole.source };
}

/** Why nothing more need be known: the image, or one that belongs to it, is revoked by a digest that is known already. */
export function barredDigest(image: AskedImage, policy: Policy, architecture: string | undefined): string | undefined {
  return revokedDigest(policy.revocations, [image.digest, ...relatedTo(fittingOf(image, architecture))]);
}

function fittingOf({ platforms }: AskedImage, architecture: string | undefined): readonly PlatformImage[] {
  const runnable = architecture === undefined ? undefined : RUNNABLE[architecture];
  if (!runnable) return platforms;
  return platforms.filter((each) => each.architecture === undefined || runnable.includes(each.architecture) || !Object.hasOwn(RUNNABLE, each.architecture));
}

/**
 * By the architecture of a node, those of the images that engines run there: older ones too, where no other fits better. Whatever is not written so may be another name of any
 * (engines take `x86_64` for amd64), and is left out nowhere.
 */
const RUNNABLE: Readonly<Record<string, readonly string[]>> = {
  amd64: ["amd64", "386"],
  arm64: ["arm64", "arm"],
  arm: ["arm"],
  "386": ["386"],
  ppc64le: ["ppc64le"],
  s390x: ["s390x"],
  riscv64: ["riscv64"],
};

function relatedTo(images: readonly PlatformImage[]): readonly string[] {
  return images.flatMap(({ digest, configDigest }) => (configDigest === undefined ? [digest] : [digest, configDigest]));
}

function verdictOf(
  { repository, artefacts: { artefacts, incomplete } }: AskedImage,
  policy: Policy,
  rule: PolicyRule | undefined,
  judged: Pick<ProvenanceQuestion, "subjects" | "related" | "layers" | "scans">,
  verifiers: Verifiers,
  nowMs: number,
): ProvenanceVerdict {
  const { authorities, trustRoots, trustStores, revocations, builders } = policy;
  return verifyProvenance(
    {
      ...{ ...judged, incomplete, authorities, trustRoots, trustStores, revocations, builders },
      artefacts: artefacts.filter(({ foundUnder }) => judged.subjects.includes(foundUnder)),
      ...(rule && { rule: rule.name }),
      signatures: rule?.signatures,
      attestations: rule?.attestations ?? [],
      build: rule?.build,
      ...{ registries: rule?.registries ?? [], baseLayers: rule?.baseLayers ?? [] },
      repository,
      tag: { status: "none" },
      atMs: nowMs,
    },
    verifiers,
  );
}

function scannedImage({ digest, configDigest }: PlatformImage, imported: ImportedReports): ScannedImage {
  const digests = [digest, ...(configDigest === undefined ? [] : [configDigest])];
  return { digests, imported: imported(digests) };
}

/** undefined where those of one are not known. */
function layersOf(images: readonly PlatformImage[]): readonly (readonly string[])[] | undefined {
  const known = images.flatMap(({ diffIds }) => (diffIds ? [diffIds] : []));
  return known.length === images.length ? known : undefined;
}

/** @param untold whether what could not be had may name a builder or commit that is revoked */
function outcomeOf({ status, text, answers, source: built, refusals: [first] }: ProvenanceVerdict, required: boolean, untold: boolean): ImageOutcome {
  const source = built?.repository && built.commit ? { repository: built.repository, commit: built.commit } : undefined;
  // What no rule asks for matters only where it is trusted no more, or where nobody can tell.
  if (status === "signed" || (!required && status !== "revoked" && !(status === "unknown" && untold))) return { kind: "accepted", answers, source };
  const { requirement = "", found = "", remedy = "" } = first ?? {};
  if (status === "unknown") return { kind: "unknown", text, answers, remedy: remedy || "make the registry answer" };
  return { kind: "refused", revoked: status === "revoked", text, answers, source, asked: requirement, found, remedy };
}
