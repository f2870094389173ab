/** Images from layer tars, as the archives that engines import. */
import { createHash } from "node:crypto";
import { raw } from "./tar-writer.ts";

export const sha256 = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const archive = (files: Readonly<Record<string, Buffer>>): Buffer =>
  Buffer.concat([...Object.entries(files).map(([name, data]) => raw({ name, data })), Buffer.alloc(1024)]);

/** An image config for uncompressed layers. */
export function imageConfig(layers: readonly Buffer[], more: Readonly<Record<string, unknown>> = {}): Buffer {
  return json({ architecture: "amd64", os: "linux", config: {}, rootfs: { type: "layers", diff_ids: layers.map(sha256) }, ...more });
}

/** What `docker load` takes. */
export function dockerArchive(layers: readonly Buffer[], repoTag: string): Buffer {
  const config = imageConfig(layers);
  const files: Record<string, Buffer> = { "config.json": config };
  for (const [i, layer] of layers.entries()) files[`${i}/layer.tar`] = layer;
  files["manifest.json"] = json([{ Config: "config.json", RepoTags: [repoTag], Layers: layers.map((_, i) => `${i}/layer.tar`) }]);
  return archive(files);
}

/** An OCI image layout of uncompressed layers in one tar: what `ctr images import` takes. */
export function ociArchive(layers: readonly Buffer[], name: string): Buffer {
  const config = imageConfig(layers);
  const files: Record<string, Buffer> = { "oci-layout": json({ imageLayoutVersion: "1.0.0" }) };
  const add = (mediaType: string, bytes: Buffer): { mediaType: string; digest: string; size: number } => {
    const digest = sha256(bytes);
    files[`blobs/sha256/${digest.slice(7)}`] = bytes;
    return { mediaType, digest, size: bytes.length };
  };
  const manifest = add(
    "application/vnd.oci.image.manifest.v1+json",
    json({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: add("application/vnd.oci.image.config.v1+json", config),
      layers: layers.map((layer) => add("application/vnd.oci.image.layer.v1.tar", layer)),
    }),
  );
  files["index.json"] = json({
    schemaVersion: 2,
    manifests: [{ ...manifest, annotations: { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": "latest" } }],
  });
  return archive(files);
}

/** OCI chain id of the topmost layer (image-spec, config.md "Layer ChainID"). */
export function chainId(layers: readonly Buffer[]): string {
  const [first, ...rest] = layers.map(sha256);
  return rest.reduce((chain, diffId) => sha256(Buffer.from(`${chain} ${diffId}`)), first ?? "");
}
