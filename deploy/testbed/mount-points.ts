import { chmodSync, mkdirSync, statSync } from "node:fs";
import { program } from "./paths.ts";
import { run } from "./run.ts";

/** Where containerd's shims put their sockets whatever the configuration says; a test bed mounts a folder of its own over it. */
export const RUNTIME_MOUNT = "/run/containerd";

/** Where the engine makes and looks for plugins; likewise covered by an empty folder. */
export const PLUGIN_MOUNT = "/run/docker";

/** Folders whose place Kubernetes parts do not let one choose. Their parents are there on every system. */
export const KUBERNETES_MOUNTS = ["/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers"] as const;

const MOUNT_POINTS: readonly string[] = [RUNTIME_MOUNT, PLUGIN_MOUNT, ...KUBERNETES_MOUNTS];

/** Tells the folders that a test bed made from those of a runtime on the machine: nobody else sets the sticky bit there. */
const OURS = 0o1711;

/** Makes those of the folders to be mounted over that are not there. They are shared by all test beds of the machine, of any checkout. */
export function makeMountPoints(wanted: readonly string[]): void {
  for (const folder of MOUNT_POINTS.filter((known) => wanted.includes(known))) {
    try {
      mkdirSync(folder);
      chmodSync(folder, OURS);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}

/**
 * Removes the folders that test beds made, unless one is in use: removing a folder would detach what another namespace has mounted
 * there, so each namespace holds a shared flock(2) on them, and they go under an exclusive one. Idempotent.
 */
export async function removeMountPoints(): Promise<void> {
  for (const folder of MOUNT_POINTS) {
    const mode = statSync(folder, { throwIfNoEntry: false })?.mode ?? 0;
    if ((mode & 0o7777) !== OURS) continue;
    // Fails when it is locked, not empty, or gone meanwhile: in each case it is not ours to remove now.
    await run([program("flock"), "--nonblock", "--exclusive", folder, "rmdir", folder]).catch(() => {});
  }
}
