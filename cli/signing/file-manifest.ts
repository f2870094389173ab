/** What an image's layers extract to, for a signed file manifest: by the same replay that a verifier would do, under each extractor that it knows. */
import { hash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import {
  FILE_MANIFEST_TYPE,
  FILE_TREE_TYPE,
  FILE_TREES_TYPE,
  type FileManifest,
  type LayerFiles,
  MAX_CONFIG_BYTES,
  MAX_TREE_BLOB_BYTES,
  MAX_TREE_BYTES,
  parseConfig,
  parseManifest,
  readBlob,
} from "@hullmark/verifier/core/provenance/index";
import { DIALECT_VERSION, type Dialect, LayerTree, replayBlob } from "@hullmark/verifier/core/reference-value/index";
import type { Descriptor, Registry, RegistryWriter } from "@hullmark/verifier/ports/registry";
import { attachLayers } from "./attach.ts";
import { SigningError } from "./errors.ts";
import type { FoundImage } from "./registry.ts";
import { type SignedImage, type StatementSigner, signImage } from "./sign-image.ts";

export interface AttachedFiles extends SignedImage {
  readonly manifest: FileManifest;
  /** Of all layers, under the extractor that has most. */
  readonly entries: number;
  /** Of the trees as they lie in the registry, and of the layers that they stand for. */
  readonly bytes: { readonly trees: number; readonly layers: number };
}

/**
 * Makes the file manifest of one image, stores its trees beside it and attaches the signed statement.
 * @param image of one platform @throws RegistryError, ProvenanceError; SigningError IMAGE where a layer cannot be extracted under any extractor: nothing is signed then
 */
export async function attachFileManifest(
  registry: Registry & RegistryWriter,
  image: FoundImage,
  sign: StatementSigner,
  nowMs: number,
  signal: AbortSignal,
): Promise<AttachedFiles> {
  const { repository, digest } = image;
  const parsed = parseManifest(image.bytes, image.mediaType);
  if (parsed.kind === "index") throw new SigningError("IMAGE", `${repository}@${digest} is an index within an index`);
  const { diffIds } = parseConfig(await readBlob(registry, repository, parsed.config.digest, MAX_CONFIG_BYTES, signal));
  if (diffIds.length !== parsed.layers.length)
    throw new SigningError("IMAGE", `${repository}@${digest} has ${parsed.layers.length} layers and ${diffIds.length} diff ids`);
  const blobs = new Map<string, Descriptor>();
  const layers = diffIds.map((diffId) => ({ diffId, trees: [] as LayerFiles[] }));
  let entries = 0;
  for (const dialect of Object.keys(DIALECT_VERSION) as Dialect[]) {
    const lower: LayerTree[] = [];
    for (const [i, { digest: blob, size }] of parsed.layers.entries()) {
      const layer = { digest: blob, size, diffId: diffIds[i] ?? "" };
      const tree = await replayBlob(registry.blob(repository, blob, signal), layer, { dialect, lower }, signal);
      if (!(tree instanceof LayerTree)) {
        const { code, reason } = tree.unextractable;
        // This extractor stops here, and with it what lies above: a verifier finds that by itself.
        if (dialect === "containerd" && code !== "BLOB_MISMATCH") break;
        throw new SigningError("IMAGE", `layer ${i + 1} of ${repository}@${digest} cannot be extracted: ${code}: ${reason}`);
      }
      lower.push(tree);
      layers[i]?.trees.push(await pushTree(registry, repository, dialect, tree, blobs, signal));
    }
    entries = Math.max(
      entries,
      lower.reduce((sum, tree) => sum + tree.size, 0),
    );
  }
  await attachLayers(registry, image, FILE_TREES_TYPE, [...blobs.values()], {}, signal);
  const manifest: FileManifest = { config: parsed.config.digest, layers };
  const signed = await signImage(registry, `${repository}@${digest}`, { type: FILE_MANIFEST_TYPE, value: { ...manifest } }, sign, nowMs, signal);
  const sum = (all: readonly { readonly size: number }[]): number => all.reduce((total, { size }) => total + size, 0);
  return { ...signed, manifest, entries, bytes: { trees: sum([...blobs.values()]), layers: sum(parsed.layers) } };
}

async function pushTree(
  registry: RegistryWriter,
  repository: string,
  dialect: Dialect,
  tree: LayerTree,
  blobs: Map<string, Descriptor>,
  signal: AbortSignal,
): Promise<LayerFiles> {
  const bytes = tree.serialize();
  const content = { digest: `sha256:${hash("sha256", bytes)}`, size: bytes.length };
  const common = { dialect, version: DIALECT_VERSION[dialect], root: tree.root.toString("hex"), content };
  const packed = zstdCompressSync(bytes);
  if (bytes.length > MAX_TREE_BYTES || packed.length > MAX_TREE_BLOB_BYTES)
    throw new SigningError("IMAGE", `a layer has too many files for a file manifest (${bytes.length} bytes of names and digests)`);
  const blob = await registry.pushBlob(repository, packed, signal);
  blobs.set(blob.digest, { mediaType: FILE_TREE_TYPE, ...blob });
  return { ...common, blob };
}
