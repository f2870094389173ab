/** Which processes belong to which container, by the cgroup that the runtime put them in. One scan serves every container for a moment. */
import { readFile } from "node:fs/promises";
import { type ListedProcess, openProcessList } from "@hullmark/native";
import { parentPid } from "../../core/process-stat.ts";

/** One scan does for a look at every container. */
const FRESH_MS = 1_000;
/** Least time between two scans, however many processes begin to run something: each goes through every process of the node. */
const LEAST_MS = 250;

interface Scan {
  readonly of: readonly ListedProcess[];
  readonly byContainer: ReadonlyMap<string, readonly number[]>;
  /** Processes outside every container's cgroup, by mount namespace (the host's own are not listed). */
  readonly strayByMountNamespace: ReadonlyMap<number, readonly number[]>;
  readonly mountNamespace: ReadonlyMap<number, number>;
}

export class ProcessTable {
  readonly #processes = openProcessList();
  #scannedMs = Number.NEGATIVE_INFINITY;
  #scan: Scan | undefined;
  #outdated = false;

  /** A process began to run something: what was scanned before is of less use. */
  outdated(): void {
    this.#outdated = true;
  }

  /** Processes of the container: those in its cgroup, and those that entered its mount namespace from, or left it for, a cgroup of no container. */
  of(containerId: string, mainPid: number): readonly number[] {
    const nowMs = performance.now();
    if (!this.#scan || nowMs - this.#scannedMs > (this.#outdated ? LEAST_MS : FRESH_MS)) {
      this.#outdated = false;
      const list = this.#processes.now();
      if (this.#scan?.of !== list) this.#scan = grouped(list);
      this.#scannedMs = nowMs;
    }
    const { byContainer, strayByMountNamespace, mountNamespace } = this.#scan;
    const strays = strayByMountNamespace.get(mountNamespace.get(mainPid) ?? 0) ?? [];
    return [...(byContainer.get(containerId) ?? []), ...strays];
  }
}

function grouped(list: readonly ListedProcess[]): Scan {
  const byContainer = new Map<string, number[]>();
  const strayByMountNamespace = new Map<number, number[]>();
  const namespaces = new Map(list.map(({ pid, mountNamespace }) => [pid, mountNamespace]));
  for (const { pid, containerId, mountNamespace } of list) {
    if (containerId !== "") group(byContainer, containerId, pid);
    else group(strayByMountNamespace, mountNamespace, pid);
  }
  return { of: list, byContainer, strayByMountNamespace, mountNamespace: namespaces };
}

function group<K>(groups: Map<K, number[]>, key: K, pid: number): void {
  const known = groups.get(key);
  if (known) known.push(pid);
  else groups.set(key, [pid]);
}

/** Names of the ancestors, nearest first, at most 5; the container's own init is the last of them. */
export async function ancestry(proc: string, pid: number): Promise<string[]> {
  const names: string[] = [];
  for (let at = pid; names.length < 5; ) {
    const parent = parentPid(await readFile(`${proc}/${at}/stat`, "latin1").catch(() => ""));
    if (!(parent > 1)) break;
    const name = (await readFile(`${proc}/${parent}/comm`, "utf8").catch(() => "")).trim();
    if (name === "") break;
    names.push(name);
    at = parent;
  }
  return names;
}
