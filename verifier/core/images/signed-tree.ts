/** A layer's tree as a signed file manifest names it, out of the image's repository. The registry is believed nothing: size and digest, of blob and content, were signed. */
import { hash } from "node:crypto";
import { promisify } from "node:util";
import { zstdDecompress } from "node:zlib";
import { assertPath, CodecError, decodeRecord } from "@hullmark/proto/codec";
import type { Reference } from "../../ports/reference-store.ts";
import { type Registry, RegistryError } from "../../ports/registry.ts";
import { type LayerFiles, ProvenanceError, readBlob } from "../provenance/index.ts";
import { LayerTree } from "../reference-value/index.ts";

const inflate = promisify(zstdDecompress);

/** @returns why there is none, where what is to be had is not what was signed @throws RegistryError where it cannot be told now; the signal's reason */
export async function fetchLayerTree(registry: Registry, repository: string, files: LayerFiles, signal: AbortSignal): Promise<Reference> {
  const { blob, content, root } = files;
  const mismatch = (reason: string): Reference => ({ unextractable: { code: "BLOB_MISMATCH", reason: `file manifest: ${reason}` } });
  try {
    const packed = await readBlob(registry, repository, blob.digest, blob.size, signal);
    const bytes = await inflate(packed, { maxOutputLength: Math.max(1, content.size) });
    if (bytes.length !== content.size || `sha256:${hash("sha256", bytes)}` !== content.digest) return mismatch("the tree is not the one that was signed");
    const tree = LayerTree.deserialize(bytes);
    if (tree.root.toString("hex") !== root) return mismatch("the tree has another root than was signed");
    for (const { path, record } of tree.entries()) {
      assertPath(path);
      decodeRecord(record);
    }
    return tree;
  } catch (error) {
    const unusable = error instanceof ProvenanceError || error instanceof CodecError || (error instanceof RegistryError && !error.retryable) || isOfZlib(error);
    if (unusable) return mismatch((error as Error).message);
    throw error;
  }
}

/** Of what is no zstd, or of more than was signed. */
function isOfZlib(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  return typeof code === "string" && (code.startsWith("ZSTD_") || code === "ERR_BUFFER_TOO_LARGE" || code.startsWith("Z_"));
}
