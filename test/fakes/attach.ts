/** Attaches what was signed to an image in its registry, in the layouts that signing tools leave. */
import type { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import type { PushedImage } from "./images.ts";
import { never } from "./judging.ts";
import type { Envelope } from "./notary.ts";
import type { TagSignature } from "./sigstore/index.ts";

const OCI = "application/vnd.oci.image.manifest.v1+json";
const NOTARY = "application/vnd.cncf.notary.signature";
const BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json";

/** As a referrer, as cosign v3 does. @returns the manifest's digest */
export async function attachBundle(
  registry: OciRegistry,
  image: Pick<PushedImage, "repository" | "manifestDigest" | "manifestBytes">,
  bundle: object,
): Promise<string> {
  const { repository, manifestDigest, manifestBytes } = image;
  const empty = Buffer.from("{}");
  const config = { mediaType: "application/vnd.oci.empty.v1+json", ...(await registry.pushBlob(repository, empty, never)) };
  const layer = { mediaType: BUNDLE, ...(await registry.pushBlob(repository, Buffer.from(JSON.stringify(bundle)), never)) };
  const subject = { mediaType: OCI, digest: manifestDigest, size: manifestBytes.length };
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI, artifactType: BUNDLE, config, layers: [layer], subject }));
  return (await registry.attach(repository, manifestDigest, { mediaType: OCI, artifactType: BUNDLE, annotations: {}, bytes }, never)).digest;
}

/** As a referrer whose kind only its config says, as notation does. */
export async function attachNotary(
  registry: OciRegistry,
  { repository, manifestDigest, manifestBytes }: PushedImage,
  { bytes: envelope, mediaType }: Envelope,
): Promise<void> {
  const config = { mediaType: NOTARY, ...(await registry.pushBlob(repository, Buffer.from("{}"), never)) };
  const layer = { mediaType, ...(await registry.pushBlob(repository, envelope, never)) };
  const subject = { mediaType: OCI, digest: manifestDigest, size: manifestBytes.length };
  const annotations = { "io.cncf.notary.x509chain.thumbprint#S256": "[]" };
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI, config, layers: [layer], subject, annotations }));
  await registry.attach(repository, manifestDigest, { mediaType: OCI, artifactType: NOTARY, annotations, bytes }, never);
}

/** At the tag, as cosign v2 does. */
export async function attachTag(
  registry: OciRegistry,
  { repository, manifestDigest }: Pick<PushedImage, "repository" | "manifestDigest">,
  { payload, signature, annotations }: TagSignature,
): Promise<void> {
  const config = { mediaType: "application/vnd.oci.image.config.v1+json", ...(await registry.pushBlob(repository, Buffer.from("{}"), never)) };
  const layer = {
    mediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
    ...(await registry.pushBlob(repository, payload, never)),
    annotations: {
      "dev.cosignproject.cosign/signature": signature,
      "dev.sigstore.cosign/certificate": annotations.certificate,
      ...(annotations.rekorBundle !== undefined && { "dev.sigstore.cosign/bundle": annotations.rekorBundle }),
      ...(annotations.timestamp !== undefined && { "dev.sigstore.cosign/rfc3161timestamp": annotations.timestamp }),
    },
  };
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI, config, layers: [layer] }));
  await registry.pushManifest(repository, `${manifestDigest.replace(":", "-")}.sig`, OCI, bytes, never);
}
