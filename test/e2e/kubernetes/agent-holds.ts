/** What an agent's process holds, by the kernel's account: for tests that nothing of it stays. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

/**
 * What the descriptors show, so that a failure says which are left; not programs that start anywhere on the machine, each of which is looked at for a moment.
 * @param fds `/proc/PID/fd` @param below of the test bed: other paths are left out
 */
export function openFiles(fds: string, below: string): string[] {
  return readdirSync(fds).flatMap((fd) => {
    try {
      const shown = readlinkSync(join(fds, fd));
      return !shown.startsWith("/") || shown.startsWith(below) ? [shown] : [];
    } catch {
      return [];
    }
  });
}

/** Resident memory in MiB, and marks of fanotify and watches of inotify. */
export function heldBy(pid: number): { readonly mib: number; readonly watches: number } {
  const mib = Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
  const infos = readdirSync(`/proc/${pid}/fdinfo`).flatMap((fd) => {
    try {
      return readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8").split("\n");
    } catch {
      return [];
    }
  });
  return { mib: Math.round(mib), watches: infos.filter((line) => /^(inotify wd|fanotify (ino|mnt_id|sdev))/.test(line)).length };
}
