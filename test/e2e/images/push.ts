import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";

/** A compressed layer, in memory or in a file. */
export interface LayerBlob {
  /** Of the compressed bytes, `sha256:…`. */
  readonly digest: string;
  /** Of the tar, `sha256:…`. */
  readonly diffId: string;
  readonly size: number;
  /** Default: a tar in gzip, of OCI. */
  readonly mediaType?: string;
  readonly content: Buffer | { readonly path: string };
}

/** One step of the image's history, as a Dockerfile's line would have left it. */
export interface Step {
  readonly createdBy: string;
  readonly layer?: LayerBlob;
}

/** An image to be pushed. Everything is fixed by its content: the same definition has the same digests. */
export interface ImageDefinition {
  readonly steps: readonly Step[];
  /** The `config` object of the OCI image config: Cmd, Env, User, Labels, … */
  readonly config: Readonly<Record<string, unknown>>;
  /** Wrap the manifest in an OCI index, as multi-platform builds do; `attested`: beside an attestation of BuildKit's form. */
  readonly index?: boolean | "attested";
}

/** What a registry holds now. All digests `sha256:…`. */
export interface PushedImage {
  /** HOST/REPOSITORY@DIGEST of the index, or of the manifest when there is none. */
  readonly reference: string;
  /** HOST/REPOSITORY:TAG */
  readonly tagged: string;
  readonly repository: string;
  /** Of the index or manifest that the tag names. */
  readonly digest: string;
  readonly manifestDigest: string;
  readonly configDigest: string;
  readonly diffIds: readonly string[];
}

const CREATED = "2026-01-01T00:00:00Z";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";

/** `sha256:` and the hex digest. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** Compresses a layer's tar. */
export function layerOf(tar: Buffer): LayerBlob {
  const content = gzipSync(tar, { level: 6 });
  return { digest: digestOf(content), diffId: digestOf(tar), size: content.length, content };
}

/** Pushes an image to a registry that speaks plain HTTP at `host` (HOST:PORT). @throws Error with the registry's answer */
export async function pushImage(host: string, repository: string, tag: string, image: ImageDefinition): Promise<PushedImage> {
  const layers = image.steps.flatMap((step) => step.layer ?? []);
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  const config = json({
    created: CREATED,
    architecture,
    os: "linux",
    config: image.config,
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.diffId) },
    history: image.steps.map((step) => ({ created: CREATED, created_by: step.createdBy, ...(step.layer ? {} : { empty_layer: true }) })),
  });
  const base = `http://${host}/v2/${repository}`;
  for (const layer of layers) await pushBlob(base, layer);
  await pushBlob(base, { digest: digestOf(config), size: config.length, content: config });
  const manifest = json({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: digestOf(config), size: config.length },
    layers: layers.map(({ digest, size, mediaType = "application/vnd.oci.image.layer.v1.tar+gzip" }) => ({ mediaType, digest, size })),
  });
  const manifestDigest = digestOf(manifest);
  let digest = manifestDigest;
  if (image.index) {
    await putManifest(base, manifestDigest, MANIFEST, manifest);
    const entry = { mediaType: MANIFEST, digest: manifestDigest, size: manifest.length, platform: { architecture, os: "linux" } };
    const entries = image.index === "attested" ? [entry, await pushAttestation(base, manifestDigest)] : [entry];
    const index = json({ schemaVersion: 2, mediaType: INDEX, manifests: entries });
    digest = digestOf(index);
    await putManifest(base, tag, INDEX, index);
  } else await putManifest(base, tag, MANIFEST, manifest);
  const name = `${host}/${repository}`;
  const diffIds = layers.map((layer) => layer.diffId);
  return { reference: `${name}@${digest}`, tagged: `${name}:${tag}`, repository: name, digest, manifestDigest, configDigest: digestOf(config), diffIds };
}

/** @returns its entry in the index (BuildKit, docs/attestations/attestation-storage.md) */
async function pushAttestation(base: string, subject: string): Promise<object> {
  const statement = json({ _type: "https://in-toto.io/Statement/v0.1", predicateType: "https://slsa.dev/provenance/v0.2", subject: [], predicate: {} });
  const config = json({ architecture: "unknown", os: "unknown", config: {}, rootfs: { type: "layers", diff_ids: [digestOf(statement)] } });
  for (const content of [statement, config]) await pushBlob(base, { digest: digestOf(content), size: content.length, content });
  const manifest = json({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: digestOf(config), size: config.length },
    layers: [{ mediaType: "application/vnd.in-toto+json", digest: digestOf(statement), size: statement.length }],
  });
  const digest = digestOf(manifest);
  await putManifest(base, digest, MANIFEST, manifest);
  const annotations = { "vnd.docker.reference.digest": subject, "vnd.docker.reference.type": "attestation-manifest" };
  return { mediaType: MANIFEST, digest, size: manifest.length, annotations, platform: { architecture: "unknown", os: "unknown" } };
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

async function pushBlob(base: string, blob: Pick<LayerBlob, "digest" | "size" | "content">): Promise<void> {
  if ((await fetch(`${base}/blobs/${blob.digest}`, { method: "HEAD" })).ok) return;
  const opened = await fetch(`${base}/blobs/uploads/`, { method: "POST" });
  const location = opened.headers.get("location");
  if (opened.status !== 202 || !location) throw new Error(`${base}: no upload: ${opened.status} ${await opened.text()}`);
  const url = new URL(location, base);
  url.searchParams.set("digest", blob.digest);
  const content = blob.content;
  const body = Buffer.isBuffer(content) ? new Uint8Array(content) : (Readable.toWeb(createReadStream(content.path)) as unknown as ReadableStream);
  const headers = { "content-type": "application/octet-stream", "content-length": String(blob.size) };
  const done = await fetch(url, { method: "PUT", headers, body, duplex: "half" } as RequestInit);
  if (done.status !== 201) throw new Error(`${base}: blob ${blob.digest}: ${done.status} ${await done.text()}`);
}

async function putManifest(base: string, name: string, mediaType: string, bytes: Buffer): Promise<void> {
  const done = await fetch(`${base}/manifests/${name}`, { method: "PUT", headers: { "content-type": mediaType }, body: new Uint8Array(bytes) });
  if (done.status !== 201) throw new Error(`${base}: manifest ${name}: ${done.status} ${await done.text()}`);
}
