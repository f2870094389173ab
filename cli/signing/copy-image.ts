/** Copies an image with all that is attached to it, byte for byte: digests and signatures stay what they are. */
import { type ImageManifest, parseManifest } from "@hullmark/verifier/core/provenance/index";
import {
  type Descriptor,
  type FetchedManifest,
  MAX_MANIFEST_BYTES,
  type Registry,
  RegistryError,
  type RegistryWriter,
} from "@hullmark/verifier/ports/registry";
import { SigningError } from "./errors.ts";
import type { FoundImage } from "./registry.ts";

export interface CopiedImage {
  /** Digests of the image's manifests: its own, and of an index those that it lists. */
  readonly subjects: readonly string[];
  readonly blobs: number;
  /** Signatures, attestations and other artefacts. */
  readonly attached: number;
}

/** What an image may have attached, over all its manifests. */
const MAX_ATTACHED = 512;
/** cosign's tags beside a digest (its specification of signatures, "Storage"). */
const TAG_SUFFIXES = [".sig", ".att", ".sbom"] as const;

/**
 * Everything but the tag, which the caller sets when nothing can go wrong any more. Copying again copies only what is missing.
 * @param destination `host[:port]/name`
 * @throws RegistryError, ProvenanceError; SigningError IMAGE for what cannot be copied whole
 */
export async function copyImage(registry: Registry & RegistryWriter, image: FoundImage, destination: string, signal: AbortSignal): Promise<CopiedImage> {
  const copy = new ImageCopy(registry, image.repository, destination, signal);
  await copy.manifest(image, true);
  for (const digest of copy.subjects) await copy.attachedTo(digest);
  return { subjects: copy.subjects, blobs: copy.blobs.size, attached: copy.attached.size };
}

class ImageCopy {
  readonly subjects: string[] = [];
  readonly blobs = new Set<string>();
  readonly attached = new Set<string>();
  readonly #registry: Registry & RegistryWriter;
  readonly #from: string;
  readonly #to: string;
  readonly #signal: AbortSignal;

  constructor(registry: Registry & RegistryWriter, from: string, to: string, signal: AbortSignal) {
    this.#registry = registry;
    this.#from = from;
    this.#to = to;
    this.#signal = signal;
  }

  /** What it names goes first: a registry may refuse a manifest without its parts. */
  async manifest({ bytes, mediaType, digest }: FetchedManifest, isTop: boolean): Promise<void> {
    const parsed = parseManifest(bytes, mediaType);
    if (parsed.kind === "index") {
      if (!isTop) throw new SigningError("IMAGE", `${this.#from}@${digest} is an index within an index`);
      for (const entry of parsed.manifests) await this.manifest(await this.#fetch(entry.digest), false);
    } else await this.#parts(parsed);
    await this.#registry.pushManifest(this.#to, digest, mediaType, bytes, this.#signal);
    if (!this.subjects.includes(digest)) this.subjects.push(digest);
  }

  async attachedTo(subject: string): Promise<void> {
    for (const entry of await this.#registry.referrers(this.#from, subject, this.#signal)) await this.#referrer(subject, entry);
    for (const suffix of TAG_SUFFIXES) await this.#tagged(`${subject.replace(":", "-")}${suffix}`);
  }

  async #referrer(subject: string, { digest, artifactType, annotations }: Descriptor): Promise<void> {
    if (!this.#isNew(digest)) return;
    const { bytes, mediaType } = await this.#fetch(digest);
    const parsed = parseManifest(bytes, mediaType);
    if (parsed.kind === "index") throw new SigningError("IMAGE", `${this.#from}@${digest}, attached to ${subject}, is an index`);
    await this.#parts(parsed);
    await this.#registry.attach(
      this.#to,
      subject,
      { mediaType, artifactType: artifactType ?? parsed.artifactType ?? parsed.config.mediaType, annotations: annotations ?? parsed.annotations, bytes },
      this.#signal,
    );
  }

  async #tagged(tag: string): Promise<void> {
    let found: FetchedManifest;
    try {
      found = await this.#registry.manifest(this.#from, tag, MAX_MANIFEST_BYTES, this.#signal);
    } catch (error) {
      if (error instanceof RegistryError && error.code === "NOT_FOUND") return;
      throw error;
    }
    if (!this.#isNew(found.digest)) return;
    const parsed = parseManifest(found.bytes, found.mediaType);
    if (parsed.kind === "index") throw new SigningError("IMAGE", `${this.#from}:${tag} is an index`);
    await this.#parts(parsed);
    await this.#registry.pushManifest(this.#to, tag, found.mediaType, found.bytes, this.#signal);
  }

  #isNew(digest: string): boolean {
    if (this.attached.has(digest)) return false;
    if (this.attached.size >= MAX_ATTACHED) throw new SigningError("IMAGE", `more than ${MAX_ATTACHED} artefacts are attached to the image`);
    this.attached.add(digest);
    return true;
  }

  async #parts({ config, layers }: ImageManifest): Promise<void> {
    for (const { digest, size } of [config, ...layers]) {
      if (this.blobs.has(digest)) continue;
      const read = () => this.#registry.blob(this.#from, digest, this.#signal);
      await this.#registry.pushStream(this.#to, { digest, size }, read, this.#from, this.#signal);
      this.blobs.add(digest);
    }
  }

  #fetch(digest: string): Promise<FetchedManifest> {
    return this.#registry.manifest(this.#from, digest, MAX_MANIFEST_BYTES, this.#signal);
  }
}
