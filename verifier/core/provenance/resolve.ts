/**
 * Which image of which registry is it that a runtime runs? The answer rests on digests: a tag only helps to find candidates,
 * whose config digest must then be the one that runs. (An image's identity is its config: it commits to the ordered layers.)
 */
import { type Descriptor, type FetchedManifest, MAX_MANIFEST_BYTES, type Registry, RegistryError, type RegistryErrorCode } from "../../ports/registry.ts";
import { ProvenanceError } from "./errors.ts";
import { type ImageConfig, type ImageManifest, type IndexEntry, MAX_CONFIG_BYTES, type Platform, parseConfig, parseManifest } from "./image-objects.ts";
import { readBlob } from "./read-blob.ts";
import { isDigest, tryParseReference } from "./reference.ts";

/** What a node's runtime says of a container's image. The node chooses every byte. */
export interface RuntimeImage {
  /** As written by whoever started the container; may be an image id. */
  readonly imageReference: string;
  /** The runtime's id: `sha256:…` (config, manifest or index digest, by runtime) or `name@sha256:…`. */
  readonly imageId: string;
  readonly repoDigests: readonly string[];
  /** SHA-256 of the config as the agent read it from the node's content store; empty where it could not. */
  readonly configDigest: string;
  /** Of the node; undefined: unknown. Only used where no config digest decides. */
  readonly platform?: Pick<Platform, "os" | "architecture"> | undefined;
}

/** A manifest or index that a signature over this image may name. */
export interface ImageSubject {
  readonly repository: string;
  readonly digest: string;
  readonly kind: "manifest" | "index";
}

/** Where the tag that the image was started by points now. */
export type TagState =
  | { readonly status: "none" }
  | { readonly status: "current"; readonly reference: string }
  | { readonly status: "moved"; readonly reference: string; readonly names: string }
  | { readonly status: "unknown"; readonly reference: string; readonly detail: string };

export interface ResolvedImage {
  /** `host[:port]/name` from which manifest, config and layers can be fetched. */
  readonly repository: string;
  readonly manifestDigest: string;
  readonly configDigest: string;
  readonly config: ImageConfig;
  /** One a diff id, lowest first. */
  readonly layers: readonly Descriptor[];
  /** Every manifest found with this config, and every index found that lists one of them. */
  readonly subjects: readonly ImageSubject[];
  /** `differs`: the config in the node's content store is not the image's own, although the runtime names this image. */
  readonly configClaim: "equal" | "differs" | "none";
  readonly tag: TagState;
  /** What could not be asked for on the way: other subjects may exist. */
  readonly incomplete: readonly string[];
}

export type ImageResolution =
  | { readonly kind: "resolved"; readonly image: ResolvedImage }
  /** Not found by digest, and the tag it was started by names another image. */
  | { readonly kind: "moved-tag"; readonly text: string; readonly tag: TagState }
  /** The digest that the runtime names stands for an image with another config than the one on the node. */
  | { readonly kind: "other-config"; readonly text: string }
  | { readonly kind: "no-reference"; readonly text: string }
  | { readonly kind: "malformed"; readonly text: string }
  | { readonly kind: "unreachable"; readonly code: RegistryErrorCode; readonly retryable: boolean; readonly text: string };

interface Candidate {
  readonly repository: string;
  /** Digest or tag. */
  readonly reference: string;
}

interface Found {
  readonly repository: string;
  readonly digest: string;
  readonly manifest: ImageManifest;
  readonly indexDigest: string | undefined;
  /** The only entry of its index for the node's platform. */
  readonly onlyFit: boolean;
  readonly byTag: boolean;
}

/** How surely a found manifest is the image that runs: its config is the measured one; the runtime's id names it; only a digest beside it does. */
const GRADE = { config: 3, id: 2, named: 1, none: 0 } as const;

const MAX_CANDIDATES = 16;
const MAX_INDEX_CHILDREN = 64;

/** Asks the registry for the image. @throws the signal's reason, or whatever is not a failure of registry or image */
export async function resolveImage(registry: Registry, runtime: RuntimeImage, signal: AbortSignal): Promise<ImageResolution> {
  const { byDigest, guess, tag } = listCandidates(runtime);
  const problems: (RegistryError | ProvenanceError)[] = [];
  const found: Found[] = [];
  const attempt = async (candidate: Candidate): Promise<readonly Found[]> => {
    try {
      return await lookUp(registry, candidate, runtime, signal);
    } catch (error) {
      if (!(error instanceof RegistryError) && !(error instanceof ProvenanceError)) throw error;
      problems.push(error);
      return [];
    }
  };
  for (const candidate of byDigest) found.push(...(await attempt(candidate)));
  // A guess that fails says nothing: distribution 2.8 answers 500 when asked for a config as if it were a manifest.
  if (guess && !found.some((entry) => gradeOf(entry, runtime) >= GRADE.id)) found.push(...(await ignoringRegistry(lookUp(registry, guess, runtime, signal))));
  const before = problems.length;
  const tagged = tag ? await attempt(tag) : [];
  const tagProblem = problems[before];
  found.push(...tagged);

  const graded = found.map((entry) => ({ entry, grade: gradeOf(entry, runtime) }));
  const best = Math.max(GRADE.none, ...graded.map(({ grade }) => grade));
  const chosen = graded.filter(({ grade }) => grade === best).map(({ entry }) => entry);
  const first = chosen[0];
  if (!first || best === GRADE.none || (best === GRADE.named && knowsConfig(runtime))) return explainFailure(tag, tagged, found, runtime, problems);
  // Grades below `config` could in theory meet several images: the first candidate decides, the rest must agree with it.
  const same = chosen.filter((entry) => entry.manifest.config.digest === first.manifest.config.digest);
  try {
    return {
      kind: "resolved",
      image: await complete(registry, same, tagState(tag, tagged, tagProblem, first.manifest.config.digest), problems, runtime, signal),
    };
  } catch (error) {
    if (!(error instanceof RegistryError) && !(error instanceof ProvenanceError)) throw error;
    return failure(error);
  }
}

function knowsConfig(runtime: RuntimeImage): boolean {
  return isDigest(runtime.configDigest) || isDigest(runtime.imageId);
}

function listCandidates(runtime: RuntimeImage): { byDigest: readonly Candidate[]; guess: Candidate | undefined; tag: Candidate | undefined } {
  const byDigest = new Map<string, Candidate>();
  const add = (repository: string, digest: string) => {
    if (byDigest.size < MAX_CANDIDATES) byDigest.set(`${repository}@${digest}`, { repository, reference: digest });
  };
  // An id or a prefix of one is not a name: it must not be looked up on Docker Hub.
  const idLike = runtime.imageReference.startsWith("sha256:") || /^[0-9a-f]{6,64}$/.test(runtime.imageReference);
  const written = idLike ? undefined : tryParseReference(runtime.imageReference);
  const named = [...runtime.repoDigests.slice(0, MAX_CANDIDATES), runtime.imageId].map(tryParseReference);
  for (const reference of [written, ...named]) if (reference?.digest) add(reference.repository, reference.digest);
  // Where images are kept by containerd, the id is the digest of manifest or index.
  const guess = written && isDigest(runtime.imageId) ? { repository: written.repository, reference: runtime.imageId } : undefined;
  const tag = written?.tag === undefined ? undefined : { repository: written.repository, reference: written.tag };
  return { byDigest: [...byDigest.values()], guess, tag };
}

/** Every manifest that a candidate leads to; empty where the registry does not hold it. */
async function lookUp(registry: Registry, candidate: Candidate, runtime: RuntimeImage, signal: AbortSignal): Promise<readonly Found[]> {
  const { repository, reference } = candidate;
  const byTag = !isDigest(reference);
  const top = await fetchIfThere(registry, repository, reference, signal);
  if (!top) return [];
  const parsed = parseManifest(top.bytes, top.mediaType);
  if (parsed.kind === "manifest") return [{ repository, digest: top.digest, manifest: parsed, indexDigest: undefined, onlyFit: false, byTag }];
  const found: Found[] = [];
  const { children, onlyFit } = platformChildren(parsed.manifests, runtime);
  for (const child of children) {
    const fetched = await fetchIfThere(registry, repository, child.digest, signal);
    const manifest = fetched && parseManifest(fetched.bytes, fetched.mediaType);
    // Indexes within indexes are allowed by the specification and used by nobody: not followed.
    if (manifest?.kind === "manifest") found.push({ repository, digest: child.digest, manifest, indexDigest: top.digest, onlyFit: child === onlyFit, byTag });
  }
  return found;
}

async function ignoringRegistry(looking: Promise<readonly Found[]>): Promise<readonly Found[]> {
  try {
    return await looking;
  } catch (error) {
    if (error instanceof RegistryError || error instanceof ProvenanceError) return [];
    throw error;
  }
}

async function fetchIfThere(registry: Registry, repository: string, reference: string, signal: AbortSignal): Promise<FetchedManifest | undefined> {
  try {
    return await registry.manifest(repository, reference, MAX_MANIFEST_BYTES, signal);
  } catch (error) {
    if (error instanceof RegistryError && error.code === "NOT_FOUND") return undefined;
    throw error;
  }
}

/** Whether an entry of an index is an image for some platform, and not an attestation of BuildKit's. Engines go by the platform alone: annotations make no image one that does not run. */
export function isImageEntry({ platform }: IndexEntry): boolean {
  return platform?.os !== "unknown";
}

/** Entries that can be the image: all where a config digest will tell, else the one for the node's platform. Attestation manifests have the platform `unknown`. */
function platformChildren(entries: readonly IndexEntry[], runtime: RuntimeImage): { children: readonly IndexEntry[]; onlyFit: IndexEntry | undefined } {
  const images = entries.filter(isImageEntry).slice(0, MAX_INDEX_CHILDREN);
  const wanted = runtime.platform;
  const fitting = wanted ? images.filter(({ platform }) => platform?.os === wanted.os && platform.architecture === wanted.architecture) : images;
  const onlyFit = fitting.length === 1 ? fitting[0] : undefined;
  return { children: knowsConfig(runtime) ? images : onlyFit ? [onlyFit] : [], onlyFit };
}

function gradeOf({ manifest, digest, indexDigest, onlyFit, byTag }: Found, runtime: RuntimeImage): number {
  const config = manifest.config.digest;
  if (config === runtime.configDigest) return GRADE.config;
  const id = runtime.imageId.slice(runtime.imageId.lastIndexOf("@") + 1);
  if (id === config || id === digest) return GRADE.id;
  // An id that is an index stands for several platforms: the node's own decides, unless a measured config has decided otherwise.
  if (id === indexDigest && onlyFit && !isDigest(runtime.configDigest)) return GRADE.id;
  return byTag ? GRADE.none : GRADE.named;
}

async function complete(
  registry: Registry,
  same: readonly Found[],
  tag: TagState,
  problems: readonly Error[],
  runtime: RuntimeImage,
  signal: AbortSignal,
): Promise<ResolvedImage> {
  const [first] = same;
  if (!first) throw new ProvenanceError("MALFORMED", "no manifest");
  const { repository, digest, manifest } = first;
  const configDigest = manifest.config.digest;
  const config = parseConfig(await readBlob(registry, repository, configDigest, MAX_CONFIG_BYTES, signal));
  if (config.diffIds.length !== manifest.layers.length)
    throw new ProvenanceError("MALFORMED", `${manifest.layers.length} layers, but ${config.diffIds.length} diff ids`);
  const subjects = new Map<string, ImageSubject>();
  for (const entry of same) {
    subjects.set(`${entry.repository}@${entry.digest}`, { repository: entry.repository, digest: entry.digest, kind: "manifest" });
    if (entry.indexDigest) subjects.set(`${entry.repository}@${entry.indexDigest}`, { repository: entry.repository, digest: entry.indexDigest, kind: "index" });
  }
  const configClaim = isDigest(runtime.configDigest) ? (runtime.configDigest === configDigest ? "equal" : "differs") : "none";
  const incomplete = problems.map(({ message }) => message);
  return { repository, manifestDigest: digest, configDigest, config, layers: manifest.layers, subjects: [...subjects.values()], configClaim, tag, incomplete };
}

function tagState(tag: Candidate | undefined, tagged: readonly Found[], problem: Error | undefined, configDigest: string): TagState {
  if (!tag) return { status: "none" };
  const reference = `${tag.repository}:${tag.reference}`;
  if (problem) return { status: "unknown", reference, detail: problem.message };
  const [first] = tagged;
  if (!first) return { status: "unknown", reference, detail: "the tag is not in the registry" };
  if (tagged.some(({ manifest }) => manifest.config.digest === configDigest)) return { status: "current", reference };
  return { status: "moved", reference, names: first.indexDigest ?? first.digest };
}

function explainFailure(
  tag: Candidate | undefined,
  tagged: readonly Found[],
  found: readonly Found[],
  runtime: RuntimeImage,
  problems: readonly (RegistryError | ProvenanceError)[],
): ImageResolution {
  const [problem] = problems;
  if (problem) return failure(problem);
  const other = found.find(({ byTag }) => !byTag);
  if (other) {
    const running = isDigest(runtime.configDigest) ? runtime.configDigest : runtime.imageId;
    return { kind: "other-config", text: `${other.repository}@${other.digest} has the config ${other.manifest.config.digest}, but ${running} is what runs` };
  }
  const state = tagState(tag, tagged, undefined, "");
  if (state.status === "moved" && knowsConfig(runtime)) {
    return {
      kind: "moved-tag",
      tag: state,
      text: `${state.reference} now names ${state.names}, which is not what runs; the image that runs was not found in the registry`,
    };
  }
  return { kind: "no-reference", text: "not in any registry that the runtime names: built or loaded on the node, or deleted since" };
}

function failure(error: RegistryError | ProvenanceError): ImageResolution {
  if (error instanceof ProvenanceError || error.code === "MALFORMED" || error.code === "DIGEST_MISMATCH" || error.code === "TOO_LARGE")
    return { kind: "malformed", text: error.message };
  if (error.code === "NOT_FOUND") return { kind: "no-reference", text: error.message };
  return { kind: "unreachable", code: error.code, retryable: error.retryable, text: error.message };
}
