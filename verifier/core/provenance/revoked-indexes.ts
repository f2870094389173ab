/** A revoked index bars its images, also where a container was started by the digest of one of them, which does not lead to the index. */
import { MAX_MANIFEST_BYTES, type Registry, RegistryError } from "../../ports/registry.ts";
import { ProvenanceError } from "./errors.ts";
import { parseManifest } from "./image-objects.ts";
import type { ImageSubject, ResolvedImage } from "./resolve.ts";

/** Digests that are looked for in one repository: each is a request to its registry. */
const MAX_REVOKED_LOOKED_FOR = 64;

export interface IndexesLookedFor {
  readonly image: ResolvedImage;
  /** Of which it is known now whether they are indexes of the image. */
  readonly told: ReadonlySet<string>;
}

/**
 * The image with the indexes of its repository among `digests` that list it as further subjects. What a registry does not have is none; what it does not tell now is not `told`: it is asked again when the image is.
 * @param digests that policy revokes; of more than {@link MAX_REVOKED_LOOKED_FOR} the first are looked for @throws the signal's reason, or what is no failure of registry or content
 */
export async function withRevokedIndexes(registry: Registry, image: ResolvedImage, digests: readonly string[], signal: AbortSignal): Promise<IndexesLookedFor> {
  const named = new Set([...image.subjects.map(({ digest }) => digest), image.configDigest]);
  const manifests = new Set(image.subjects.filter(({ kind }) => kind === "manifest").map(({ digest }) => digest));
  const told = new Set(digests.filter((each) => named.has(each)));
  const more: ImageSubject[] = [];
  for (const digest of digests.filter((each) => !named.has(each)).slice(0, MAX_REVOKED_LOOKED_FOR)) {
    try {
      const { bytes, mediaType } = await registry.manifest(image.repository, digest, MAX_MANIFEST_BYTES, signal);
      const parsed = parseManifest(bytes, mediaType);
      if (parsed.kind === "index" && parsed.manifests.some((entry) => manifests.has(entry.digest)))
        more.push({ repository: image.repository, digest, kind: "index" });
      told.add(digest);
    } catch (error) {
      if (!(error instanceof RegistryError) && !(error instanceof ProvenanceError)) throw error;
      if (error instanceof RegistryError && error.code === "NOT_FOUND") told.add(digest);
    }
  }
  return { image: more.length === 0 ? image : { ...image, subjects: [...image.subjects, ...more] }, told };
}
