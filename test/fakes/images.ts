/** Small real images, built and pushed without an engine: OCI or Docker schema 2, one platform or an index of several. */
import { createHash } from "node:crypto";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";

export interface PushedImage {
  readonly repository: string;
  readonly tag: string;
  readonly manifestDigest: string;
  readonly configDigest: string;
  readonly diffIds: readonly string[];
  readonly manifestBytes: Buffer;
}

export interface PushedIndex {
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
  readonly images: readonly PushedImage[];
}

export interface ImageOptions {
  readonly tag?: string;
  readonly dialect?: "oci" | "docker";
  readonly architecture?: string;
  /** Of the layers; docker knows gzip alone. */
  readonly compression?: keyof typeof COMPRESSIONS;
  /** One layer each: file name → content. */
  readonly layers?: readonly Readonly<Record<string, string>>[];
}

const TYPES = {
  oci: {
    manifest: "application/vnd.oci.image.manifest.v1+json",
    index: "application/vnd.oci.image.index.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar+gzip",
  },
  docker: {
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    index: "application/vnd.docker.distribution.manifest.list.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  },
} as const;

/** Ends of media types, and what they stand for. */
export const COMPRESSIONS = {
  none: { suffix: "", pack: (bytes: Buffer) => bytes },
  gzip: { suffix: "+gzip", pack: (bytes: Buffer) => gzipSync(bytes) },
  zstd: { suffix: "+zstd", pack: (bytes: Buffer) => zstdCompressSync(bytes) },
  /** Frames, and a skippable one where zstd:chunked keeps its index. */
  "zstd:chunked": {
    suffix: "+zstd",
    pack: (bytes: Buffer) =>
      Buffer.concat([...halves(bytes).map((half) => zstdCompressSync(half)), Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4])]),
  },
  /** Members, and an empty one at the end that says where the index is. */
  estargz: {
    suffix: "+gzip",
    pack: (bytes: Buffer) => {
      const members = halves(bytes).map((half) => gzipSync(half));
      return Buffer.concat([...members, estargzFooter(members[0]?.length ?? 0)]);
    },
  },
} as const;

function halves(bytes: Buffer): Buffer[] {
  return [bytes.subarray(0, 512), bytes.subarray(512)];
}

/** A gzip member with nothing in it but the offset of the index: how eStargz ends (stargz-snapshotter, docs/estargz.md). */
export function estargzFooter(offset: number): Buffer {
  const extra = Buffer.concat([Buffer.from("SG"), Buffer.of(22, 0), Buffer.from(`${offset.toString(16).padStart(16, "0")}STARGZ`)]);
  return Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, extra.length, 0]), extra, Buffer.from([1, 0, 0, 0xff, 0xff]), Buffer.alloc(8)]);
}

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** A ustar archive of regular files (POSIX.1-1988), mode 0644, owner 0:0. */
function tar(files: Readonly<Record<string, string>>): Buffer {
  const blocks: Buffer[] = [];
  for (const [name, content] of Object.entries(files)) {
    const body = Buffer.from(content);
    const header = Buffer.alloc(512);
    header.write(name, 0, 100);
    header.write("0000644\0", 100);
    header.write("0000000\0", 108);
    header.write("0000000\0", 116);
    header.write(`${body.length.toString(8).padStart(11, "0")}\0`, 124);
    header.write("00000000000\0", 136);
    header.write("        ", 148);
    header.write("0", 156);
    header.write("ustar\x0000", 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    blocks.push(header, body, Buffer.alloc((512 - (body.length % 512)) % 512));
  }
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

const never = new AbortController().signal;

/** Pushes an image; the same options give the same digests. */
export async function pushImage(repository: string, options: ImageOptions = {}): Promise<PushedImage> {
  const registry = new OciRegistry();
  try {
    const { tag = "latest", dialect = "oci", architecture = "amd64", layers = [{ "etc/app.conf": "port=80\n" }], compression = "gzip" } = options;
    const types = TYPES[dialect];
    const tars = layers.map(tar);
    const diffIds = tars.map(sha256);
    const history = layers.map((layer, index) => ({ created: "2026-01-01T00:00:00Z", created_by: `COPY ${Object.keys(layer).join(" ")} / # ${index}` }));
    const config = Buffer.from(
      JSON.stringify({
        architecture,
        os: "linux",
        config: { Env: ["PATH=/usr/bin"], Cmd: ["/bin/app"], Labels: { "org.opencontainers.image.title": "app" } },
        rootfs: { type: "layers", diff_ids: diffIds },
        history: [...history, { created: "2026-01-01T00:00:00Z", created_by: "CMD /bin/app", empty_layer: true }],
      }),
    );
    const { suffix, pack } = COMPRESSIONS[compression];
    const mediaType = dialect === "docker" ? types.layer : types.layer.replace("+gzip", suffix);
    const descriptors = await Promise.all(tars.map(async (bytes) => ({ mediaType, ...(await registry.pushBlob(repository, pack(bytes), never)) })));
    const manifest = {
      schemaVersion: 2,
      mediaType: types.manifest,
      config: { mediaType: types.config, ...(await registry.pushBlob(repository, config, never)) },
      layers: descriptors,
    };
    const bytes = Buffer.from(JSON.stringify(manifest));
    const manifestDigest = await registry.pushManifest(repository, tag, types.manifest, bytes, never);
    return { repository, tag, manifestDigest, configDigest: sha256(config), diffIds, manifestBytes: bytes };
  } finally {
    registry.close();
  }
}

/** Pushes an index of one image an architecture. */
export async function pushIndex(repository: string, tag: string, architectures: readonly string[], dialect: "oci" | "docker" = "oci"): Promise<PushedIndex> {
  const images: PushedImage[] = [];
  for (const architecture of architectures) images.push(await pushImage(repository, { tag: `${tag}-${architecture}`, architecture, dialect }));
  const registry = new OciRegistry();
  try {
    const manifests = images.map((image, index) => ({
      mediaType: TYPES[dialect].manifest,
      digest: image.manifestDigest,
      size: image.manifestBytes.length,
      platform: { os: "linux", architecture: architectures[index] },
    }));
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: TYPES[dialect].index, manifests }));
    return { repository, tag, digest: await registry.pushManifest(repository, tag, TYPES[dialect].index, bytes, never), images };
  } finally {
    registry.close();
  }
}
