/** Which processes belong to which container, by the cgroup that the runtime put them in. One scan serves every container for a moment. */
import { readdir, readFile, readlink } from "node:fs/promises";

/** docker, containerd, CRI-O and podman all put the container's 64 hex digits into the cgroup's name, on v1 and v2, by cgroupfs or systemd. */
export const CONTAINER_ID = /[/-]([0-9a-f]{64})(?:\.scope)?(?=$|\/|\n)/m;
const FRESH_MS = 250;

interface Scan {
  readonly byContainer: ReadonlyMap<string, readonly number[]>;
  /** Processes outside every container's cgroup, by mount namespace (the host's own left out). */
  readonly strayByMountNamespace: ReadonlyMap<string, readonly number[]>;
}

export class ProcessTable {
  readonly #proc: string;
  #scannedMs = 0;
  #scan: Promise<Scan> | undefined;

  constructor(proc: string) {
    this.#proc = proc;
  }

  /** Processes of the container: those in its cgroup, and those that entered its mount namespace from, or left it for, a cgroup of no container. */
  async of(containerId: string, mainPid: number): Promise<readonly number[]> {
    const nowMs = performance.now();
    if (!this.#scan || nowMs - this.#scannedMs > FRESH_MS) {
      this.#scannedMs = nowMs;
      this.#scan = this.#read();
    }
    const { byContainer, strayByMountNamespace } = await this.#scan;
    const strays = strayByMountNamespace.get(await this.#mountNamespace(mainPid)) ?? [];
    return [...(byContainer.get(containerId) ?? []), ...strays];
  }

  /** Empty where it cannot be read. */
  async #mountNamespace(pid: number | "self"): Promise<string> {
    return readlink(`${this.#proc}/${pid}/ns/mnt`).catch(() => "");
  }

  async #read(): Promise<Scan> {
    const table = new Map<string, number[]>();
    const strays = new Map<string, number[]>();
    const own = new Set(["", await this.#mountNamespace("self"), await this.#mountNamespace(1)]);
    const pids = (await readdir(this.#proc)).filter((name) => /^\d+$/.test(name)).map(Number);
    for (const pid of pids.sort((a, b) => a - b)) {
      const id = CONTAINER_ID.exec(await readFile(`${this.#proc}/${pid}/cgroup`, "latin1").catch(() => ""))?.[1];
      const group = id ?? (await this.#mountNamespace(pid));
      if (own.has(group)) continue;
      const groups = id ? table : strays;
      const known = groups.get(group);
      if (known) known.push(pid);
      else groups.set(group, [pid]);
    }
    return { byContainer: table, strayByMountNamespace: strays };
  }
}

/** Names of the ancestors, nearest first, at most 5; the container's own init is the last of them. */
export async function ancestry(proc: string, pid: number): Promise<string[]> {
  const names: string[] = [];
  for (let at = pid; names.length < 5; ) {
    const stat = await readFile(`${proc}/${at}/stat`, "latin1").catch(() => "");
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    if (!(parent > 1)) break;
    const name = (await readFile(`${proc}/${parent}/comm`, "utf8").catch(() => "")).trim();
    if (name === "") break;
    names.push(name);
    at = parent;
  }
  return names;
}
