import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { identify, type ProcessIdentity, signal, waitGone } from "./process-identity.ts";

const ROOT = "/sys/fs/cgroup";

/** Name of the cgroup below which all containers of a test bed run, in every hierarchy. */
export function cgroupName(id: string): string {
  return `hullmark-${id}`;
}

/** Kills whatever runs in the test bed's containers and removes their cgroups: v2, v1 and the hybrid of both. Idempotent. */
export async function removeCgroups(id: string): Promise<void> {
  const tops = hierarchies()
    .map((folder) => join(folder, cgroupName(id)))
    .filter((folder) => existsSync(folder));
  const groups = tops.flatMap(descend);
  for (const folder of groups) {
    // A frozen (paused) task gets its SIGKILL only when thawed.
    tryWrite(join(folder, "freezer.state"), "THAWED");
    if (existsSync(join(folder, "cgroup.freeze"))) tryWrite(join(folder, "cgroup.freeze"), "0");
  }
  const processes = new Map<number, ProcessIdentity>();
  for (const folder of groups) for (const member of members(folder)) processes.set(member.pid, member);
  for (const member of processes.values()) signal(member, "SIGKILL");
  await waitGone([...processes.values()], 10_000);
  for (const folder of groups) tryRemove(folder);
}

function hierarchies(): string[] {
  if (existsSync(join(ROOT, "cgroup.controllers"))) return [ROOT];
  try {
    return readdirSync(ROOT).map((name) => join(ROOT, name));
  } catch {
    return [];
  }
}

/** The folder and all below it, children first. */
function descend(folder: string): string[] {
  const children = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...children.flatMap((entry) => descend(join(folder, entry.name))), folder];
}

function members(folder: string): ProcessIdentity[] {
  try {
    const pids = readFileSync(join(folder, "cgroup.procs"), "latin1").split("\n").filter(Boolean).map(Number);
    return pids.map(identify).filter((entry) => entry !== undefined);
  } catch {
    return [];
  }
}

function tryWrite(path: string, value: string): void {
  try {
    if (existsSync(path)) writeFileSync(path, value);
  } catch {
    // The group vanished meanwhile, or the root of a hierarchy refuses: the removal that follows tells.
  }
}

function tryRemove(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Still busy or gone: an empty cgroup holds nothing, and the next sweep tries again.
  }
}
