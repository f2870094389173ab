/**
 * Containers that the runtime does not tell of: started in another of containerd's namespaces, by another engine, or by hand. They are found by what the
 * kernel tells of their processes: a container's cgroup, or a mount namespace whose root is not the node's.
 */
import { readFileSync, statSync } from "node:fs";
import { type ListedProcess, listProcesses } from "@hullmark/native";
import type { ContainerFacts } from "../../ports/container-runtime.ts";

/** Linux counts a process's start in clock ticks of 10 ms on every architecture that is supported. */
const TICKS_PER_SECOND = 100;

/** kthreadd's root is the node's, also seen from a pod, and unlike the first process's may be looked at everywhere. */
const NODE_ROOT = "/proc/2/root/";

/** First process of each container, by an id: the cgroup's 64 hex digits, or `mnt-` and the number of the mount namespace. */
export type Seen = ReadonlyMap<string, ListedProcess>;

export class Unlisted {
  #found: Seen = new Map();

  /** What runs in any container now. Synchronous, about 10 µs a process. */
  look(): Seen {
    const processes = listProcesses();
    const own = new Set([0, ...processes.filter(({ pid }) => pid === 1 || pid === process.pid).map(({ mountNamespace }) => mountNamespace)]);
    const byNamespace = new Map<number, boolean>();
    const elsewhere = ({ pid, mountNamespace }: ListedProcess): boolean => {
      if (own.has(mountNamespace)) return false;
      const known = byNamespace.get(mountNamespace) ?? hasOtherRoot(pid);
      byNamespace.set(mountNamespace, known);
      return known;
    };
    const first = new Map<string, ListedProcess>();
    for (const each of processes) {
      if (each.containerId === "" && !elsewhere(each)) continue;
      const id = each.containerId || `mnt-${each.mountNamespace}`;
      const before = first.get(id);
      if (!before || each.startTicks < before.startTicks) first.set(id, each);
    }
    // A process that entered a container's mount namespace without its cgroup is that container's.
    const namespaces = new Set([...first.values()].filter(({ containerId }) => containerId !== "").map(({ mountNamespace }) => mountNamespace));
    return new Map([...first].filter(([, { containerId, mountNamespace }]) => containerId !== "" || !namespaces.has(mountNamespace)));
  }

  /** Ids of those seen that the runtime does not know and that still run. @param known every id that the runtime tells, asked after the look */
  others(seen: Seen, known: ReadonlySet<string>): string[] {
    const unknown = [...seen].filter(([id]) => !known.has(id));
    if (unknown.length === 0) {
      this.#found = new Map();
      return [];
    }
    // The runtime forgets a container only after its processes are gone.
    const alive = new Map(listProcesses().map(({ pid, startTicks }) => [pid, startTicks]));
    const left = unknown.filter(([, { pid, startTicks }]) => alive.get(pid) === startTicks);
    this.#found = new Map(left);
    return left.map(([id]) => id);
  }

  /** undefined: none of those found last, or gone. */
  facts(id: string): ContainerFacts | undefined {
    const found = this.#found.get(id);
    if (!found) return undefined;
    try {
      const name = readFileSync(`/proc/${found.pid}/comm`, "utf8").trim();
      return {
        ...NOTHING_DECLARED,
        id,
        name: `${name || "process"} ${id.slice(0, 16)} (in no runtime)`,
        pid: found.pid,
        startedAtMs: startedAtMs(found),
        args: words(found.pid, "cmdline"),
        env: words(found.pid, "environ"),
      };
    } catch {
      return undefined;
    }
  }
}

const NOTHING_DECLARED = {
  workload: "",
  imageReference: "",
  imageId: "",
  repoDigests: [],
  configBlobPath: undefined,
  labels: {},
  pod: undefined,
  user: "",
  workingDirectory: "",
  capabilities: [],
  privileged: false,
  readOnlyRoot: false,
  noNewPrivileges: false,
  seccomp: "unconfined",
  apparmor: "",
  hostNamespaces: [],
  devices: [],
  mounts: [],
  maskedPaths: [],
  hostname: "",
  extraHosts: [],
  addresses: [],
  networkNames: [],
  engineFiles: [],
  unlisted: true,
} as const satisfies Partial<ContainerFacts>;

function hasOtherRoot(pid: number): boolean {
  try {
    const [own, nodes] = [statSync(`/proc/${pid}/root/`), statSync(NODE_ROOT)];
    return own.dev !== nodes.dev || own.ino !== nodes.ino;
  } catch {
    return false;
  }
}

function startedAtMs({ startTicks }: ListedProcess): number {
  const boot = Number(/^btime (\d+)$/m.exec(readFileSync("/proc/stat", "latin1"))?.[1] ?? 0);
  return Math.round((boot + startTicks / TICKS_PER_SECOND) * 1000);
}

/** The process controls them: bounded. */
function words(pid: number, file: "cmdline" | "environ"): string[] {
  return readFileSync(`/proc/${pid}/${file}`, "utf8").slice(0, 65_536).split("\0").slice(0, -1).slice(0, 1_024);
}
