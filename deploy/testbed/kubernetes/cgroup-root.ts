import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cgroupName } from "../cgroup.ts";

const ROOT = "/sys/fs/cgroup";

/** Makes the cgroup below which the kubelet puts its pods: it wants its root to be there in every hierarchy. */
export function makeCgroupRoot(id: string): void {
  if (existsSync(join(ROOT, "cgroup.controllers"))) {
    const folder = join(ROOT, cgroupName(id));
    mkdirSync(folder, { recursive: true });
    for (const parent of [ROOT, folder]) passOnControllers(parent);
    return;
  }
  for (const hierarchy of readdirSync(ROOT)) {
    const parent = join(ROOT, hierarchy);
    // Hybrid: the version 2 hierarchy beside those of version 1 has no controllers of use here; links name the same hierarchy twice.
    if (!existsSync(join(parent, "cgroup.procs"))) continue;
    const folder = join(parent, cgroupName(id));
    mkdirSync(folder, { recursive: true });
    // A new cpuset of version 1 has no processor and no memory: nothing could run in it.
    for (const file of ["cpuset.cpus", "cpuset.mems"]) {
      if (existsSync(join(folder, file))) writeFileSync(join(folder, file), readFileSync(join(parent, file)));
    }
  }
}

function passOnControllers(folder: string): void {
  const known = readFileSync(join(folder, "cgroup.controllers"), "utf8").trim().split(" ").filter(Boolean);
  for (const controller of known) {
    try {
      writeFileSync(join(folder, "cgroup.subtree_control"), `+${controller}`);
    } catch {
      // Some cannot be passed on below a group with processes; the kubelet says so when it is one that it needs.
    }
  }
}
