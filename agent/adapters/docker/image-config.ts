/** Where the config of a container's image lies on the node: by the image's id in the engine's own store, by way of the manifest in containerd's. */
import { createHash } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import type Docker from "dockerode";
import * as z from "zod";
import { parseMountInfo, parseOverlayOptions } from "../../core/mountinfo.ts";

const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
const DIGEST = /^sha256:([0-9a-f]{64})$/;
const ManifestSchema = z.object({ config: z.object({ digest: z.string().regex(DIGEST) }) });

/** overlay2 and its like keep config blobs by image id. @param imageId the engine's word; undefined: it is no such id */
export function imageStoreConfig(rootDirectory: string, storageDriver: string, imageId: string): string | undefined {
  const hex = DIGEST.exec(imageId)?.[1];
  return hex && join(rootDirectory, "image", storageDriver, "imagedb/content/sha256", hex);
}

/**
 * Where containerd keeps its blobs: beside its snapshots, which the kernel names. The engine's API tells of neither.
 * @param mountInfo of the container's shim, which no container writes
 * @param rootPath where the engine mounted the container's root
 */
export function contentStoreOf(mountInfo: string, rootPath: string): string | undefined {
  const root = parseMountInfo(mountInfo).findLast(({ destination, type }) => destination === rootPath && type === "overlay");
  const upper = root && parseOverlayOptions(root.superOptions)?.upperdir;
  const top = /^(.*)\/io\.containerd\.snapshotter\.v1\.[^/]+\/snapshots\/[0-9]+\/fs$/.exec(upper ?? "")?.[1];
  return top === undefined ? undefined : join(top, "io.containerd.content.v1.content/blobs/sha256");
}

/**
 * The engine says of a container which manifest it was made from (API 1.48, Docker 28); before, its image's id is all, which is an index for images of
 * several platforms. undefined: not to be told, or the manifest is not what its name says.
 * @param contentStore what {@link contentStoreOf} found
 */
export async function manifestConfig(contentStore: string, container: Docker.ContainerInspectInfo): Promise<string | undefined> {
  const told = (container as { ImageManifestDescriptor?: { digest?: string } | null }).ImageManifestDescriptor?.digest ?? container.Image;
  const hex = DIGEST.exec(told)?.[1];
  const bytes = hex === undefined ? undefined : await readAtMost(join(contentStore, hex), MAX_MANIFEST_BYTES);
  if (!bytes || createHash("sha256").update(bytes).digest("hex") !== hex) return undefined;
  try {
    const { data } = ManifestSchema.safeParse(JSON.parse(bytes.toString()));
    return data && join(contentStore, data.config.digest.slice("sha256:".length));
  } catch {
    return undefined;
  }
}

/** undefined: it cannot be read, or is longer. */
async function readAtMost(path: string, limit: number): Promise<Buffer | undefined> {
  try {
    await using file = await open(path, "r");
    if ((await file.stat()).size > limit) return undefined;
    return await readFile(file);
  } catch {
    return undefined;
  }
}
