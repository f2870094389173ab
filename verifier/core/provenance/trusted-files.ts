/**
 * Signed file manifests: who is trusted for it tells what an image's layers extract to, so that the layers need not be fetched. Pure.
 * A manifest counts only with the image's own config and diff ids in it; what its trees hold is bound by the digests that were signed.
 */
import type { Policy, SignatureRequirement } from "../policy/types.ts";
import type { Artefact } from "./artefact.ts";
import { ProvenanceError } from "./errors.ts";
import { FILE_MANIFEST_TYPE, type FileManifest, readFileManifest } from "./file-manifest.ts";
import type { JsonObject } from "./json.ts";
import { judgeArtefact } from "./judge.ts";
import { readyRevocations } from "./revocation.ts";
import { readyAuthority, type Verifiers } from "./signers.ts";
import { votesFor } from "./verify.ts";

/** A manifest that enough of the authorities have signed. */
export interface TrustedFiles {
  readonly manifest: FileManifest;
  /** What it says: two of one key say the same. */
  readonly key: string;
  readonly by: readonly string[];
  /** Which say so. */
  readonly artefacts: readonly Artefact[];
}

export interface FilesQuestion extends Pick<Policy, "authorities" | "trustRoots" | "trustStores" | "revocations"> {
  readonly requirement: SignatureRequirement;
  /** Digests that are this image. */
  readonly subjects: readonly string[];
  readonly configDigest: string;
  readonly diffIds: readonly string[];
  readonly artefacts: readonly Artefact[];
  /** Unix milliseconds. */
  readonly atMs: number;
}

/** @returns undefined where none is signed as required @throws ProvenanceError BAD_KEY where a key or trust root cannot be used */
export function trustedFiles(question: FilesQuestion, verifiers: Verifiers): TrustedFiles | undefined {
  const { requirement, artefacts, subjects, atMs } = question;
  const authorities = question.authorities
    .filter(({ name }) => requirement.authorities.includes(name))
    .map((each) => readyAuthority(each, question, verifiers));
  const judging = { subjects: new Set(subjects), authorities, revocations: readyRevocations(question.revocations, verifiers.sigstore), atMs };
  const told = [...new Set(artefacts)].flatMap((artefact) => {
    const { verdict, predicate } = judgeArtefact(artefact, judging, verifiers);
    if (verdict.code !== "attestation" || verdict.predicateType !== FILE_MANIFEST_TYPE || !predicate) return [];
    const manifest = readable(predicate);
    return manifest && isOf(manifest, question) ? [{ artefact, verdict, manifest, key: keyOf(manifest) }] : [];
  });
  for (const [key, same] of Map.groupBy(told, (each) => each.key)) {
    const [first] = same;
    const verdicts = same.map(({ verdict }) => verdict);
    if (!first || votesFor(requirement.authorities, verdicts) < requirement.threshold) continue;
    const by = [...new Set(verdicts.flatMap((verdict) => verdict.authorities))];
    return { manifest: first.manifest, key, by, artefacts: same.map(({ artefact }) => artefact) };
  }
  return undefined;
}

/** What was signed and cannot be read says nothing: the layers do. */
function readable(predicate: JsonObject): FileManifest | undefined {
  try {
    return readFileManifest(predicate);
  } catch (error) {
    if (error instanceof ProvenanceError) return undefined;
    throw error;
  }
}

function isOf({ config, layers }: FileManifest, { configDigest, diffIds }: FilesQuestion): boolean {
  return config === configDigest && layers.length === diffIds.length && layers.every(({ diffId }, i) => diffId === diffIds[i]);
}

/** Signers may have packed one tree otherwise. */
function keyOf({ layers }: FileManifest): string {
  return JSON.stringify(layers.map(({ trees }) => trees.map(({ dialect, version, root, content }) => [dialect, version, root, content.digest]).sort()));
}
