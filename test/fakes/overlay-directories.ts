/** Where a running container's files lie on the node, whatever keeps the engine's images: as the kernel tells it. */
import { MountInfoRootFilesystem } from "@hullmark/agent/adapters/rootfs/mountinfo-root";

/** @param pid of its main process @returns lower directories, lowest first */
export async function overlayDirectories(pid: number): Promise<{ readonly lower: readonly string[]; readonly upper: string }> {
  const layout = await new MountInfoRootFilesystem().layout(pid, undefined);
  if (layout.kind !== "overlay") throw new Error(`process ${pid} has no overlay: ${layout.kind}`);
  return { lower: layout.layers.map(({ path }) => path), upper: layout.upperPath };
}
