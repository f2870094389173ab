/** Attaches a bundle to an image: an OCI artifact manifest whose subject is the image, in the layout of cosign v3. */
import type { Descriptor, RegistryWriter } from "@hullmark/verifier/ports/registry";

export const BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json";
const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
const EMPTY_TYPE = "application/vnd.oci.empty.v1+json";
const EMPTY = Buffer.from("{}");

/** What is signed, as it lies in the registry. */
export interface SubjectImage {
  /** `host[:port]/name` */
  readonly repository: string;
  readonly mediaType: string;
  readonly digest: string;
  /** Bytes of the manifest or index. */
  readonly size: number;
}

/**
 * @param createdMs Unix milliseconds, told to people only
 * @returns the artifact's descriptor
 * @throws RegistryError
 */
export async function attachBundle(
  registry: RegistryWriter,
  subject: SubjectImage,
  bundle: Buffer,
  predicateType: string,
  createdMs: number,
  signal: AbortSignal,
): Promise<Descriptor> {
  const layer = await registry.pushBlob(subject.repository, bundle, signal);
  const annotations = {
    "dev.sigstore.bundle.content": "dsse-envelope",
    "dev.sigstore.bundle.predicateType": predicateType,
    "org.opencontainers.image.created": new Date(createdMs).toISOString().replace(/\.\d{3}Z$/, "Z"),
  };
  return await attachLayers(registry, subject, BUNDLE_TYPE, [{ mediaType: BUNDLE_TYPE, ...layer }], annotations, signal);
}

/** @param layers pushed already @throws RegistryError */
export async function attachLayers(
  registry: RegistryWriter,
  subject: SubjectImage,
  artifactType: string,
  layers: readonly Descriptor[],
  annotations: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Descriptor> {
  const { repository, mediaType, digest, size } = subject;
  const config = await registry.pushBlob(repository, EMPTY, signal);
  const manifest = {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    artifactType,
    config: { mediaType: EMPTY_TYPE, ...config },
    layers,
    subject: { mediaType, digest, size },
    annotations,
  };
  const bytes = Buffer.from(JSON.stringify(manifest), "utf8");
  return registry.attach(repository, digest, { mediaType: MANIFEST_TYPE, artifactType, annotations, bytes }, signal);
}
