/**
 * Containers that the runtime does not tell of: started in another of containerd's namespaces, by another engine, or by hand. They are found by what the
 * kernel tells of their processes: a container's cgroup, or a mount namespace whose root is not the node's.
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { type ListedProcess, openProcessList, processRoot } from "@hullmark/native";
import { statField } from "../../core/process-stat.ts";
import type { ContainerFacts } from "../../ports/container-runtime.ts";

/** Linux counts a process's start in clock ticks of 10 ms on every architecture that is supported. */
const TICKS_PER_SECOND = 100;

/** kthreadd's root is the node's, also seen from a pod, and unlike the first process's may be looked at everywhere. */
const KTHREADD = 2;

/** Of the arguments, and of the variables, of a process: it chooses how long they are, without end and at no cost of its own (`PR_SET_MM_MAP`). */
const MAX_WORDS_BYTES = 65_536;
const MAX_WORDS = 1024;

/** First process of each container, by an id: the cgroup's 64 hex digits, or `mnt-` and the number of the mount namespace. */
export type Seen = ReadonlyMap<string, ListedProcess>;

export class Unlisted {
  readonly #processes = openProcessList();
  #found: Seen = new Map();

  /** What runs in any container now. Synchronous. */
  look(): Seen {
    const byNamespace = new Map<number, boolean>();
    const elsewhere = ({ pid, mountNamespace }: ListedProcess): boolean => {
      const known = byNamespace.get(mountNamespace) ?? (mountNamespace !== 0 && hasOtherRoot(pid));
      byNamespace.set(mountNamespace, known);
      return known;
    };
    const first = new Map<string, ListedProcess>();
    for (const each of this.#processes.now()) {
      if (each.containerId === "" && !elsewhere(each)) continue;
      const id = idOf(each);
      if (!first.has(id)) first.set(id, each);
    }
    // A process that entered a container's mount namespace without its cgroup is that container's.
    const namespaces = new Set([...first.values()].filter(({ containerId }) => containerId !== "").map(({ mountNamespace }) => mountNamespace));
    return new Map([...first].filter(([, { containerId, mountNamespace }]) => containerId !== "" || !namespaces.has(mountNamespace)));
  }

  /** Ids of those seen that the runtime does not know and that still run. @param known every id that the runtime tells, asked after the look */
  others(seen: Seen, known: ReadonlySet<string>): string[] {
    const unknown = [...seen].filter(([id]) => !known.has(id));
    // The runtime forgets a container only after its processes are gone.
    const alive = unknown.length > 0 ? new Map(this.#processes.now().map((each) => [each.pid, idOf(each)])) : new Map<number, string>();
    this.#found = new Map(unknown.filter(([id, { pid }]) => alive.get(pid) === id));
    return [...this.#found.keys()];
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
        startedAtMs: startedAtMs(found.pid),
        rootPath: undefined,
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

function idOf({ containerId, mountNamespace }: ListedProcess): string {
  return containerId || `mnt-${mountNamespace}`;
}

function hasOtherRoot(pid: number): boolean {
  const root = processRoot(pid);
  return root !== undefined && root !== processRoot(KTHREADD);
}

/** /proc/PID/stat, field 22: clock ticks since boot. @throws the system's error */
function startedAtMs(pid: number): number {
  const boot = Number(/^btime (\d+)$/m.exec(readFileSync("/proc/stat", "latin1"))?.[1] ?? 0);
  const ticks = Number(statField(readFileSync(`/proc/${pid}/stat`, "latin1"), 22));
  return Math.round((boot + ticks / TICKS_PER_SECOND) * 1000);
}

/** The process controls them. @throws the system's error */
function words(pid: number, file: "cmdline" | "environ"): string[] {
  const bytes = Buffer.alloc(MAX_WORDS_BYTES);
  const opened = openSync(`/proc/${pid}/${file}`, "r");
  try {
    let length = 0;
    for (let got = -1; got !== 0 && length < bytes.length; length += got) got = readSync(opened, bytes, length, bytes.length - length, null);
    return bytes.toString("utf8", 0, length).split("\0").slice(0, -1).slice(0, MAX_WORDS);
  } finally {
    closeSync(opened);
  }
}
