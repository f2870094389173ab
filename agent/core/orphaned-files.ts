/** Files of a container that the engine has removed, still mounted in one that had joined its network (`--network container:…`). */
import type { ContainerFacts } from "../ports/container-runtime.ts";
import type { MountPoint } from "../ports/root-filesystem.ts";
import { NAMELESS } from "./first-mounts.ts";
import { ENGINE_FILE } from "./volume-mounts.ts";

/** Destination → path below the engine's data directory, of the files that went with the container whose network it is. */
export type OrphanedFiles = ReadonlyMap<string, string>;

export function orphanedFiles({ networkOwnerGone, engineFiles }: Pick<ContainerFacts, "networkOwnerGone" | "engineFiles">): OrphanedFiles {
  const kept = networkOwnerGone ? engineFiles.map(({ destination, hostPath }) => [destination, ENGINE_FILE.exec(hostPath)?.[2]] as const) : [];
  return new Map(kept.filter((each): each is [string, string] => each[1] !== undefined));
}

/** Whether this is the very file that was mounted there at first, which has no name any more because its container went; never another that lies in its place. */
export function isOrphan({ destination, root, nameless }: MountPoint, orphaned: OrphanedFiles): boolean {
  const path = orphaned.get(destination);
  return nameless === true && path !== undefined && root.endsWith(`${path}${NAMELESS}`);
}
