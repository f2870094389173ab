/** Which image a report is of: by digest, as the report says, and as whoever hands it in says; both where both do. */
import { ReportError } from "./errors.ts";
import type { ReportSubject } from "./types.ts";

/** An image that the verifier has resolved. */
export interface KnownImage {
  readonly configDigest: string;
  readonly manifestDigests: readonly string[];
  /** Of indexes that list it: another platform's image may have the same. */
  readonly indexDigests: readonly string[];
  /** Lowest first. */
  readonly diffIds: readonly string[];
}

/**
 * @param wanted `sha256:` digest that was given beside the report; undefined: none was
 * @param known images with the digests that are asked for, as far as the verifier knows any
 * @returns the digest of the configuration where it is known, else that of the manifest
 * @throws ReportError NO_IMAGE, OTHER_IMAGE
 */
export function imageOf(subject: ReportSubject, wanted: string | undefined, known: readonly KnownImage[]): string {
  const { configDigest, manifestDigests } = subject;
  const said = [...(configDigest === undefined ? [] : [configDigest]), ...manifestDigests];
  const having = (digest: string): KnownImage[] => known.filter((image) => digestsOf(image).includes(digest));
  const asked = wanted ?? configDigest ?? onlyOne(manifestDigests);
  if (asked === undefined)
    throw new ReportError("NO_IMAGE", said.length === 0 ? "the report names no image by digest" : `the report names ${said.length} digests`);
  const [image, another] = having(asked);
  if (another) throw new ReportError("NO_IMAGE", `${asked} is an index: of several images`);
  const same = new Set([asked, ...(image ? digestsOf(image) : [])]);
  if (said.length > 0 && !said.some((digest) => same.has(digest))) throw new ReportError("OTHER_IMAGE", `the report is of ${said[0]}, not of ${asked}`);
  if (image && configDigest !== undefined && !same.has(configDigest))
    throw new ReportError("OTHER_IMAGE", `the report is of the configuration ${configDigest}, not of ${image.configDigest}`);
  const foreign = said.flatMap(having).find((other) => other !== image && !sharesIndexOnly(other, said));
  if (foreign) throw new ReportError("OTHER_IMAGE", `the report names digests of ${asked} and of ${foreign.configDigest}`);
  if (image && subject.diffIds.length > 0 && image.diffIds.length > 0 && !sameLayers(subject.diffIds, image.diffIds))
    throw new ReportError("OTHER_IMAGE", `the report lists other layers than ${image.configDigest} has`);
  return image?.configDigest ?? asked;
}

/** In whatever order: Trivy's CycloneDX has them sorted by digest. */
function sameLayers(a: readonly string[], b: readonly string[]): boolean {
  const [these, those] = [new Set(a), new Set(b)];
  return these.size === those.size && a.every((layer) => those.has(layer));
}

function digestsOf({ configDigest, manifestDigests, indexDigests }: KnownImage): string[] {
  return [configDigest, ...manifestDigests, ...indexDigests];
}

function sharesIndexOnly({ configDigest, manifestDigests }: KnownImage, said: readonly string[]): boolean {
  return !said.includes(configDigest) && !manifestDigests.some((digest) => said.includes(digest));
}

function onlyOne(digests: readonly string[]): string | undefined {
  const distinct = [...new Set(digests)];
  return distinct.length === 1 ? distinct[0] : undefined;
}
