/** What a node holds of pods: mounts, cgroups, sockets, files and rules of its packet filter. To be held against what it was, once they are gone. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseMountInfo } from "../../../agent/core/mountinfo.ts";
import type { Kubernetes } from "../../../deploy/testbed/index.ts";
import { program } from "../../../deploy/testbed/paths.ts";
import { run } from "../../../deploy/testbed/run.ts";

const CGROUPS = "/sys/fs/cgroup";
/**
 * Where the kubelet, the runtime and Hullmark leave files for a pod, with how deep to look. Images, and what was unpacked of them, are left out: the runtime keeps them until the
 * kubelet collects what no pod uses.
 */
const FOLDERS: Readonly<Record<string, number>> = {
  "/var/lib/kubelet/pods": 1,
  "/var/log/pods": 1,
  "/var/log/containers": 1,
  "/run/containerd/s": 1,
  "/run/containerd/state": 4,
  "/run/hullmark": 1,
  "/var/lib/hullmark": 1,
};

/** Sorted. */
export interface NodeTraces {
  readonly mounts: readonly string[];
  readonly cgroups: readonly string[];
  readonly sockets: readonly string[];
  readonly files: readonly string[];
  readonly rules: readonly string[];
}

export async function nodeTraces(cluster: Kubernetes): Promise<NodeTraces> {
  const { pid } = cluster.namespace.holder;
  const { cgroupRoot } = JSON.parse(readFileSync(join(cluster.containerdRoot, "../kubelet.json"), "utf8")) as { cgroupRoot: string };
  const sockets = readFileSync(`/proc/${pid}/net/unix`, "latin1").split("\n");
  const rules = await run(cluster.namespace.wrap([program("iptables-save")]));
  return {
    mounts: sorted(parseMountInfo(readFileSync(`/proc/${pid}/mountinfo`, "latin1")).map(({ destination }) => destination)),
    // Of version 1 each hierarchy has them.
    cgroups: sorted(
      [CGROUPS, ...below(CGROUPS, 1)].flatMap((folder) => below(join(folder, cgroupRoot, "kubepods"), 3)).filter((path) => /\/pod[0-9a-f-]+/.test(path)),
    ),
    sockets: sorted(
      sockets
        .map((line) => line.trim().split(/\s+/)[7] ?? "")
        .filter((path) => path.startsWith("/") || path.startsWith("@"))
        // The kubelet binds its own under another number each time that it starts.
        .map((path) => path.replace(/^(\/var\/lib\/kubelet\/pod-resources\/)\d+$/, "$1")),
    ),
    files: sorted(Object.entries(FOLDERS).flatMap(([folder, depth]) => below(`/proc/${pid}/root${folder}`, depth))),
    // kube-proxy's, by the name of the Service.
    rules: sorted(rules.split("\n").filter((rule) => rule.includes('"hullmark'))),
  };
}

const sorted = (values: readonly string[]): readonly string[] => [...new Set(values)].filter(Boolean).sort();

/** Paths of what is there, so many levels down; of folders above the last level only what is in them, since runtimes keep theirs. What goes meanwhile is left out. */
function below(folder: string, depth: number): readonly string[] {
  if (depth === 0 || !existsSync(folder)) return [];
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() && depth > 1 ? below(path, depth - 1) : [path];
    });
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
    throw error;
  }
}
