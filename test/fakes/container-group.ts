/** A control group as a container's, on this machine. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** Of version 2, or one controller's of version 1. */
export const GROUPS = ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"].find((path) => existsSync(join(path, "cgroup.procs"))) ?? "";

/** Has no processes any more when the test ends: those that are moved into it are started after it is made. */
export function containerGroup(): { readonly id: string; readonly path: string } {
  const id = randomBytes(32).toString("hex");
  const path = join(GROUPS, `docker-${id}.scope`);
  mkdirSync(path);
  onTestFinished(() => rmdirSync(path));
  return { id, path };
}

export function move(pid: number, group: string): void {
  writeFileSync(join(group, "cgroup.procs"), `${pid}`);
}
