import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { run } from "./command.ts";

// An OCI image layout (image-spec v1.1, image-layout.md) whose every byte follows from what is put in: no time, no host, no order of a directory.

export interface Layer {
  /** `sha256:…` of the compressed bytes, and of the tar. */
  readonly digest: string;
  readonly diffId: string;
  /** Bytes, compressed and not. */
  readonly size: number;
  readonly unpackedSize: number;
  /** For the image's history. */
  readonly createdBy: string;
}

export interface Image {
  readonly name: string;
  readonly layers: readonly Layer[];
  /** The `config` object of the image config. */
  readonly config: Readonly<Record<string, unknown>>;
}

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const CONFIG = "application/vnd.oci.image.config.v1+json";
const LAYER = "application/vnd.oci.image.layer.v1.tar+gzip";
/** Of zlib, which comes with the locked Node: the same input has the same output. */
const COMPRESSION = 6;

/** Packs a folder: sorted names, one time, root as owner, modes 0755 and 0644 by the execute bit. */
export async function packLayer(folder: string, layout: string, atSeconds: number, createdBy: string): Promise<Layer> {
  const blobs = join(layout, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const tar = `${folder}.tar`;
  const options = ["--format=ustar", "--sort=name", `--mtime=@${atSeconds}`, "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"];
  await run("tar", [...options, "-C", folder, "-cf", tar, "."]);
  await pipeline(createReadStream(tar), createGzip({ level: COMPRESSION }), createWriteStream(`${tar}.gz`));
  const [diffId, digest] = [await fileDigest(tar), await fileDigest(`${tar}.gz`)];
  const sizes = { size: statSync(`${tar}.gz`).size, unpackedSize: statSync(tar).size };
  renameSync(`${tar}.gz`, join(blobs, digest.slice(7)));
  rmSync(tar);
  return { digest, diffId, createdBy, ...sizes };
}

export interface Written {
  readonly name: string;
  /** `sha256:…` of the manifest: what is signed. */
  readonly digest: string;
  readonly configDigest: string;
  readonly layers: readonly Layer[];
}

/** Writes config and manifest of each image, and the index, in which an image is found by its name (`org.opencontainers.image.ref.name`). */
export function writeLayout(layout: string, images: readonly Image[], architecture: string, created: string): Written[] {
  const written = images.map(({ name, layers, config }): Written & { readonly size: number } => {
    const configBlob = writeBlob(layout, {
      ...{ created, architecture, os: "linux", config },
      rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
      history: layers.map(({ createdBy }) => ({ created, created_by: createdBy })),
    });
    const manifest = writeBlob(layout, {
      ...{ schemaVersion: 2, mediaType: MANIFEST },
      config: { mediaType: CONFIG, ...configBlob },
      layers: layers.map(({ digest, size }) => ({ mediaType: LAYER, digest, size })),
    });
    return { name, digest: manifest.digest, size: manifest.size, configDigest: configBlob.digest, layers };
  });
  const manifests = written.map(({ name, digest, size }) => ({
    ...{ mediaType: MANIFEST, digest, size, platform: { architecture, os: "linux" } },
    annotations: { "org.opencontainers.image.ref.name": name },
  }));
  writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests }));
  writeFileSync(join(layout, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  return written;
}

function writeBlob(layout: string, value: unknown): { readonly digest: string; readonly size: number } {
  const bytes = Buffer.from(JSON.stringify(value));
  const hex = createHash("sha256").update(bytes).digest("hex");
  writeFileSync(join(layout, "blobs/sha256", hex), bytes);
  return { digest: `sha256:${hex}`, size: bytes.length };
}

async function fileDigest(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return `sha256:${hash.digest("hex")}`;
}
