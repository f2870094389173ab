/** Lists of referrers: the API's pages and the fallback tag's index (distribution-spec v1.1, "Listing Referrers" and "Referrers Tag Schema"). */
import * as z from "zod/mini";
import { type Descriptor, RegistryError } from "../../ports/registry.ts";

export const INDEX_MEDIA_TYPE = "application/vnd.oci.image.index.v1+json";

const descriptorSchema = z.looseObject({
  mediaType: z.string().check(z.maxLength(255)),
  digest: z.string().check(z.regex(/^sha256:[0-9a-f]{64}$/)),
  size: z.int().check(z.nonnegative()),
  artifactType: z.optional(z.string().check(z.maxLength(255))),
  annotations: z.optional(z.record(z.string().check(z.maxLength(1024)), z.string().check(z.maxLength(65_536)))),
});
const indexSchema = z.looseObject({ schemaVersion: z.literal(2), manifests: z.array(z.unknown()).check(z.maxLength(10_000)) });

/** The tag that lists what refers to a digest where the registry has no API for it. */
export function fallbackTag(digest: string): string {
  return digest.replace(":", "-");
}

/** Descriptors of an index. Entries with a digest of another algorithm are left out. @throws RegistryError MALFORMED */
export function parseReferrers(bytes: Buffer, repository: string): readonly Descriptor[] {
  const descriptors: Descriptor[] = [];
  for (const entry of parseIndex(bytes, repository).manifests) {
    const parsed = descriptorSchema.safeParse(entry);
    if (!parsed.success) continue;
    const { mediaType, digest, size, artifactType, annotations } = parsed.data;
    descriptors.push({
      mediaType,
      digest,
      size,
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(annotations === undefined ? {} : { annotations }),
    });
  }
  return descriptors;
}

function parseIndex(bytes: Buffer, repository: string): z.infer<typeof indexSchema> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new RegistryError("MALFORMED", `${repository}: a list of referrers that is not JSON`, { cause });
  }
  const parsed = indexSchema.safeParse(value);
  if (!parsed.success) throw new RegistryError("MALFORMED", `${repository}: a list of referrers that is not an OCI index`);
  return parsed.data;
}

/** The index with one more entry; everything that was there stays, fields unknown to us too. */
export function appendToFallback(index: Buffer | undefined, descriptor: Descriptor): Buffer {
  const before = index ? parseIndex(index, "the fallback tag") : { schemaVersion: 2 as const, mediaType: INDEX_MEDIA_TYPE, manifests: [] };
  return Buffer.from(JSON.stringify({ ...before, manifests: [...before.manifests, descriptor] }), "utf8");
}

/** The `rel="next"` address of a Link header (RFC 8288); undefined on the last page. @throws RegistryError MALFORMED */
export function nextPage(link: string | string[] | undefined, base: URL): URL | undefined {
  const text = Array.isArray(link) ? link.join(",") : (link ?? "");
  const found = /<([^<>]{1,8192})>\s*;[^,]*\brel="?next"?/i.exec(text);
  if (!found?.[1]) return undefined;
  if (!URL.canParse(found[1], base.href)) throw new RegistryError("MALFORMED", `${base.host}: a next page that is no address`);
  return new URL(found[1], base);
}
