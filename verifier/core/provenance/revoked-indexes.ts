/** A revoked index bars its images, also where a container was started by the digest of one of them, which does not lead to the index. */
import { MAX_MANIFEST_BYTES, type Registry, RegistryError } from "../../ports/registry.ts";
import { ProvenanceError } from "./errors.ts";
import { parseManifest } from "./image-objects.ts";
import type { ImageSubject, ResolvedImage } from "./resolve.ts";

/** Digests that are looked for in one repository: each is a request to its registry. */
const MAX_REVOKED_LOOKED_FOR = 64;

/**
 * The image with the indexes of its repository among `digests` that list it as further subjects. What a registry does not have, or does not tell now, is left out: it is asked again when the image is.
 * @param digests that policy revokes; of more than {@link MAX_REVOKED_LOOKED_FOR} the first @throws the signal's reason, or what is no failure of registry or content
 */
export async function withRevokedIndexes(registry: Registry, image: ResolvedImage, digests: readonly string[], signal: AbortSignal): Promise<ResolvedImage> {
  const named = new Set([...image.subjects.map(({ digest }) => digest), image.configDigest]);
  const manifests = new Set(image.subjects.filter(({ kind }) => kind === "manifest").map(({ digest }) => digest));
  const more: ImageSubject[] = [];
  for (const digest of digests.filter((each) => !named.has(each)).slice(0, MAX_REVOKED_LOOKED_FOR)) {
    try {
      const { bytes, mediaType } = await registry.manifest(image.repository, digest, MAX_MANIFEST_BYTES, signal);
      const parsed = parseManifest(bytes, mediaType);
      if (parsed.kind === "index" && parsed.manifests.some((entry) => manifests.has(entry.digest)))
        more.push({ repository: image.repository, digest, kind: "index" });
    } catch (error) {
      if (!(error instanceof RegistryError) && !(error instanceof ProvenanceError)) throw error;
    }
  }
  return more.length === 0 ? image : { ...image, subjects: [...image.subjects, ...more] };
}
