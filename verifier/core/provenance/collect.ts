/** Fetches what is attached to an image: by referrers (API or fallback tag) and by cosign's older tags. Bounded whatever the registry lists. */
import { type Descriptor, MAX_MANIFEST_BYTES, type Registry, RegistryError } from "../../ports/registry.ts";
import {
  type Artefact,
  type CollectedArtefacts,
  cosignAnnotations,
  DSSE_TYPE,
  isBundleType,
  NOTARY_ENVELOPE_TYPES,
  NOTARY_TYPE,
  SIGNATURE_ANNOTATION,
  SIMPLE_SIGNING_TYPE,
} from "./artefact.ts";
import { ProvenanceError } from "./errors.ts";
import { type ImageManifest, parseManifest } from "./image-objects.ts";
import { readBlob } from "./read-blob.ts";
import type { ImageSubject } from "./resolve.ts";

export interface CollectLimits {
  /** Manifests that are looked into, over all subjects. */
  readonly maxManifests: number;
  readonly maxArtefacts: number;
  /** Of one signature, envelope or bundle. */
  readonly maxArtefactBytes: number;
  readonly maxTotalBytes: number;
  /** Requests at once. */
  readonly concurrency: number;
}

export const DEFAULT_COLLECT_LIMITS: CollectLimits = {
  maxManifests: 128,
  maxArtefacts: 128,
  maxArtefactBytes: 8 * 1024 * 1024,
  maxTotalBytes: 32 * 1024 * 1024,
  concurrency: 4,
};

/** Artifact types that are known to hold no signature: not worth a request. Anything else is looked into, since some lists leave the type out. */
const IGNORED_TYPES = /^application\/(?:spdx|vnd\.cyclonedx|sarif|vnd\.oci\.image\.config|vnd\.docker\.container\.image|vnd\.hullmark\.file-trees)/;

interface Lead {
  readonly subject: ImageSubject;
  readonly layout: Artefact["layout"];
  /** Digest or tag. */
  readonly reference: string;
}

class Collection {
  readonly artefacts: Artefact[] = [];
  readonly incomplete: string[] = [];
  readonly #limits: CollectLimits;
  #bytesLeft: number;

  constructor(limits: CollectLimits) {
    this.#limits = limits;
    this.#bytesLeft = limits.maxTotalBytes;
  }

  add(artefact: Artefact): void {
    if (this.artefacts.length < this.#limits.maxArtefacts) this.artefacts.push(artefact);
    else this.miss(`more than ${this.#limits.maxArtefacts} signatures and attestations`);
  }

  miss(what: string): void {
    if (!this.incomplete.includes(what) && this.incomplete.length < 32) this.incomplete.push(what);
  }

  /** Books the bytes of a blob before it is fetched. */
  admits(size: number): boolean {
    if (size > this.#bytesLeft) {
      this.miss(`more than ${this.#limits.maxTotalBytes} bytes of signatures and attestations`);
      return false;
    }
    this.#bytesLeft -= size;
    return true;
  }
}

/**
 * @param subjects where to look; who made the list vouches that each is this image
 * @throws the signal's reason, or what is no failure of registry or content; those become `incomplete` and `damaged`
 */
export async function collectArtefacts(
  registry: Registry,
  subjects: readonly ImageSubject[],
  signal: AbortSignal,
  limits: CollectLimits = DEFAULT_COLLECT_LIMITS,
): Promise<CollectedArtefacts> {
  const collection = new Collection(limits);
  const leads: Lead[] = [];
  let found = 0;
  // Lists are as long as the registry likes, one for each subject.
  const add = (lead: Lead) => {
    if (found++ < limits.maxManifests) leads.push(lead);
  };
  await eachBounded(subjects, limits.concurrency, async (subject) => {
    for (const suffix of [".sig", ".att"]) add({ subject, layout: "cosign-tag", reference: `${subject.digest.replace(":", "-")}${suffix}` });
    const listed = await tolerate(collection, `referrers of ${subject.digest}`, () => registry.referrers(subject.repository, subject.digest, signal));
    for (const entry of listed ?? []) if (mayHoldSignature(entry)) add({ subject, layout: "referrer", reference: entry.digest });
  });
  if (found > limits.maxManifests) collection.miss(`${found} attached objects, of which ${limits.maxManifests} were looked at`);
  await eachBounded(leads, limits.concurrency, (lead) => follow(registry, lead, collection, limits, signal));
  return { artefacts: collection.artefacts, incomplete: collection.incomplete };
}

function mayHoldSignature({ artifactType }: Descriptor): boolean {
  return artifactType === undefined || !IGNORED_TYPES.test(artifactType);
}

async function follow(registry: Registry, lead: Lead, collection: Collection, limits: CollectLimits, signal: AbortSignal): Promise<void> {
  const { subject, layout, reference } = lead;
  const fetched = await tolerate(collection, `${subject.repository} ${reference}`, () =>
    registry.manifest(subject.repository, reference, MAX_MANIFEST_BYTES, signal),
  );
  if (!fetched) return;
  const common = { repository: subject.repository, manifestDigest: fetched.digest, foundUnder: subject.digest, layout };
  let manifest: ImageManifest;
  try {
    const parsed = parseManifest(fetched.bytes, fetched.mediaType);
    if (parsed.kind === "index") return;
    manifest = parsed;
  } catch (error) {
    if (!(error instanceof ProvenanceError)) throw error;
    collection.add({ ...common, format: "damaged", detail: error.message });
    return;
  }
  const notary = manifest.artifactType === NOTARY_TYPE || manifest.config.mediaType === NOTARY_TYPE;
  for (const layer of manifest.layers) {
    const { mediaType } = layer;
    const known = notary ? NOTARY_ENVELOPE_TYPES.has(mediaType) : mediaType === SIMPLE_SIGNING_TYPE || mediaType === DSSE_TYPE || isBundleType(mediaType);
    if (!known) continue;
    if (layer.size > limits.maxArtefactBytes) {
      collection.add({ ...common, format: "damaged", detail: `of ${layer.size} bytes, limit ${limits.maxArtefactBytes}` });
      continue;
    }
    if (!collection.admits(layer.size)) return;
    const artefact = await fetchLayer(registry, common, layer, collection, signal);
    if (artefact) collection.add(artefact);
  }
}

async function fetchLayer(
  registry: Registry,
  common: Pick<Artefact, "repository" | "manifestDigest" | "foundUnder" | "layout">,
  layer: Descriptor,
  collection: Collection,
  signal: AbortSignal,
): Promise<Artefact | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readBlob(registry, common.repository, layer.digest, layer.size, signal);
  } catch (error) {
    if (error instanceof RegistryError && error.code !== "NOT_FOUND") {
      collection.miss(error.message);
      return undefined;
    }
    if (!(error instanceof ProvenanceError) && !(error instanceof RegistryError)) throw error;
    return { ...common, format: "damaged", detail: error.message };
  }
  if (NOTARY_ENVELOPE_TYPES.has(layer.mediaType)) return { ...common, format: "notary", envelope: bytes, mediaType: layer.mediaType };
  if (isBundleType(layer.mediaType)) return { ...common, format: "bundle", bundle: bytes };
  const annotations = cosignAnnotations(layer.annotations);
  return layer.mediaType === DSSE_TYPE
    ? { ...common, format: "dsse", envelope: bytes, annotations }
    : { ...common, format: "simple-signing", payload: bytes, signature: layer.annotations?.[SIGNATURE_ANNOTATION], annotations };
}

/** undefined: not there, or noted as incomplete. */
async function tolerate<T>(collection: Collection, what: string, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    if (error.code !== "NOT_FOUND") collection.miss(`${what}: ${error.message}`);
    return undefined;
  }
}

async function eachBounded<T>(items: readonly T[], concurrency: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const lane = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: Math.max(1, concurrency) }, lane));
}
