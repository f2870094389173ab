/**
 * Signed file manifests: who is trusted for it tells what an image's layers extract to, so that the layers need not be fetched (`hullmark manifest`). Pure.
 * A manifest counts only with the image's own config and diff ids in it; what its trees hold is bound by the digests that were signed.
 */
import type { Policy, SignatureRequirement } from "../policy/types.ts";
import type { Artefact } from "./artefact.ts";
import { ProvenanceError } from "./errors.ts";
import { arrayField, asObject, field, type JsonObject, objectField, textField } from "./json.ts";
import { judgeArtefact } from "./judge.ts";
import { isDigest } from "./reference.ts";
import { readyRevocations } from "./revocation.ts";
import { readyAuthority, type Verifiers } from "./signers.ts";
import { votesFor } from "./verify.ts";

/** Predicate type of the signed statement. */
export const FILE_MANIFEST_TYPE = "https://hullmark.dev/file-manifest/v1";
/** Of the artefact that holds the trees, and of each tree in it: a serialised layer tree, in zstd. */
export const FILE_TREES_TYPE = "application/vnd.hullmark.file-trees.v1";
export const FILE_TREE_TYPE = "application/vnd.hullmark.file-tree.v1+zstd";
/** Bytes of one tree, and of its blob: some two million entries. */
export const MAX_TREE_BYTES = 256 * 1024 * 1024;
export const MAX_TREE_BLOB_BYTES = 64 * 1024 * 1024;
const MAX_LAYERS = 1024;
const MAX_TREES = 8;

interface SizedDigest {
  /** `sha256:` and 64 hex digits. */
  readonly digest: string;
  readonly size: number;
}

/** What one layer extracts to under one extractor. */
export interface LayerFiles {
  readonly dialect: string;
  /** `DIALECT_VERSION` of whoever made it. */
  readonly version: number;
  /** Of the tree, hex. */
  readonly root: string;
  /** The tree's bytes. */
  readonly content: SizedDigest;
  /** The same in zstd, in the image's repository. */
  readonly blob: SizedDigest;
}

export interface FileManifest {
  /** Digest of the image's config. */
  readonly config: string;
  /** Lowest first. */
  readonly layers: readonly { readonly diffId: string; readonly trees: readonly LayerFiles[] }[];
}

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

/** @throws ProvenanceError MALFORMED, TOO_LARGE */
export function readFileManifest(predicate: JsonObject): FileManifest {
  const layers = arrayField(predicate, "layers", MAX_LAYERS).map((entry) => {
    const layer = asObject(entry);
    if (!layer) throw malformed("a layer");
    return { diffId: digestField(layer, "diffId"), trees: arrayField(layer, "trees", MAX_TREES).map(readTree) };
  });
  return { config: digestField(predicate, "config"), layers };
}

function readTree(value: unknown): LayerFiles {
  const tree = asObject(value);
  const dialect = textField(tree, "dialect", 64);
  const version = field(tree, "version");
  const root = textField(tree, "root", 64);
  if (dialect === undefined || typeof version !== "number" || !Number.isSafeInteger(version) || root === undefined || !/^[0-9a-f]{64}$/.test(root))
    throw malformed("a tree");
  return { dialect, version, root, content: sized(tree, "content", MAX_TREE_BYTES), blob: sized(tree, "blob", MAX_TREE_BLOB_BYTES) };
}

function sized(tree: JsonObject | undefined, name: string, maxBytes: number): SizedDigest {
  const object = objectField(tree, name);
  const size = field(object, "size");
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) throw malformed(name);
  if (size > maxBytes) throw new ProvenanceError("TOO_LARGE", `a file manifest's ${name} of ${size} bytes, limit ${maxBytes}`);
  return { digest: digestField(object, "digest"), size };
}

function digestField(object: JsonObject | undefined, name: string): string {
  const digest = textField(object, name, 255);
  if (digest === undefined || !isDigest(digest)) throw malformed(name);
  return digest;
}

function malformed(what: string): ProvenanceError {
  return new ProvenanceError("MALFORMED", `a file manifest in which ${what} is not as it should be`);
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
