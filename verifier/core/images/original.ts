/** A file's content as an image has it, for people who compare: read from the layer in the registry, and proven by the digest that is known of it already. */
import { decodeRecord, pathKey } from "@hullmark/proto/codec";
import type { Registry } from "../../ports/registry.ts";
import { findContent } from "../reference-value/index.ts";
import type { ImageKnowledge } from "./image-entry.ts";
import type { LoadedImage } from "./types.ts";

export interface Original {
  /** Raw bytes, no leading slash. */
  readonly path: Buffer;
  /** Of the image, 0 lowest; -1: the one that a container sees it from. */
  readonly layerIndex: number;
  readonly sha256: Buffer;
}

/**
 * A layer that is known by a signed list of its files alone is fetched for this too.
 * @returns undefined: the image has no such content there @throws RegistryError; the signal's reason
 */
export async function originalOf(
  registry: Registry,
  { image, resolved }: Pick<ImageKnowledge, "image" | "resolved">,
  { path, layerIndex, sha256 }: Original,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Buffer | "too-large" | undefined> {
  if ("missing" in image || !resolved) return undefined;
  const at = located(image, path, layerIndex);
  const layer = at && resolved.layers[at.layerIndex];
  const record = at && decodeRecord(at.record);
  if (!layer || record?.type !== "f" || !record.sha256.equals(sha256)) return undefined;
  if (record.size > BigInt(maxBytes)) return "too-large";
  // Not every layer's tar holds an empty file where one is: there is nothing to find.
  if (record.size === 0n) return Buffer.alloc(0);
  return await findContent(registry.blob(resolved.repository, layer.digest, signal), layer.size, { sha256, size: Number(record.size) }, signal);
}

function located(
  { layerTree, reference }: LoadedImage,
  path: Buffer,
  layerIndex: number,
): { readonly record: Buffer; readonly layerIndex: number } | undefined {
  if (layerIndex < 0) return reference.merged(path);
  const at = layerTree(layerIndex)?.descend(pathKey(path), 256);
  return at?.kind === "leaf" && at.path.equals(path) ? { record: at.record, layerIndex } : undefined;
}
