/** Images that run, by what people call them. */
import type { ImageRow } from "../../ports/rows.ts";
import { type ImageReference, tryParseReference } from "../provenance/reference.ts";

/** Of more only so many are offered. */
const OFFERED = 5;

/** Those that run as this reference: as it is written, or as it is read, with Docker's short names written out. What was started by tag and digest runs as that tag. */
export function imagesRunAs(images: readonly ImageRow[], reference: string): ImageRow[] {
  const read = tryParseReference(reference);
  const same = (other: ImageReference): boolean =>
    other.repository === read?.repository && (read.digest ? other.digest === read.digest : other.tag === read.tag);
  // Also beside one that is written so: another one may run by the same tag.
  return images.filter((image) => image.references.includes(reference) || referencesOf(image).some(same));
}

/** What to ask for instead, in words: images by digest. @param images of which one is meant */
export function byDigest(images: readonly ImageRow[]): string {
  const named = images.slice(0, OFFERED).map(({ configDigest, references: [reference = ""] }) => `${configDigest} (${reference.slice(0, 200)})`);
  return images.length > OFFERED ? `${named.join(", ")} and ${images.length - OFFERED} more` : named.join(", ");
}

/** Those of the same repository, whichever tag or digest they run by. */
export function imagesOfRepository(images: readonly ImageRow[], reference: string): ImageRow[] {
  const read = tryParseReference(reference);
  return read ? images.filter((image) => referencesOf(image).some(({ repository }) => repository === read.repository)) : [];
}

function referencesOf({ references }: ImageRow): ImageReference[] {
  return references.flatMap((reference) => tryParseReference(reference) ?? []);
}
