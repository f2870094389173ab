/** Which processes belong to which container, by the cgroup that the runtime put them in. One scan serves every container for a moment. */
import { readdir, readFile } from "node:fs/promises";

/** docker, containerd, CRI-O and podman all put the container's 64 hex digits into the cgroup's name, on v1 and v2, by cgroupfs or systemd. */
const CONTAINER_ID = /[/-]([0-9a-f]{64})(?:\.scope)?(?=$|\/|\n)/m;
const FRESH_MS = 250;

export class ProcessTable {
  readonly #proc: string;
  #scannedMs = 0;
  #scan: Promise<ReadonlyMap<string, readonly number[]>> | undefined;

  constructor(proc: string) {
    this.#proc = proc;
  }

  /** Processes of the container, ascending. */
  async of(containerId: string): Promise<readonly number[]> {
    const nowMs = performance.now();
    if (!this.#scan || nowMs - this.#scannedMs > FRESH_MS) {
      this.#scannedMs = nowMs;
      this.#scan = this.#read();
    }
    return (await this.#scan).get(containerId) ?? [];
  }

  async #read(): Promise<ReadonlyMap<string, readonly number[]>> {
    const table = new Map<string, number[]>();
    const pids = (await readdir(this.#proc)).filter((name) => /^\d+$/.test(name)).map(Number);
    for (const pid of pids.sort((a, b) => a - b)) {
      const id = CONTAINER_ID.exec(await readFile(`${this.#proc}/${pid}/cgroup`, "latin1").catch(() => ""))?.[1];
      if (!id) continue;
      const known = table.get(id);
      if (known) known.push(pid);
      else table.set(id, [pid]);
    }
    return table;
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
