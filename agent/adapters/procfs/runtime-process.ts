/**
 * The runtime's own process inside a container: `runc init` has joined the cgroup and the namespaces and is about to execute the container's program
 * (CVE-2019-5736 made it run from a sealed copy of itself, which looks just like an attack from memory). Every `docker exec` and health check has one.
 */
import { readFile } from "node:fs/promises";
import { CONTAINER_ID } from "./processes.ts";

export interface StartingProcess {
  readonly pid: number;
  /** `major:minor:inode` of the program. */
  readonly program: string;
  readonly mappings: readonly { readonly device: string; readonly inode: string }[];
}

/**
 * Whether the process is still the runtime: its parent is outside of every container, both run the same content, and every other executable mapping is
 * the very file that the parent maps. runc's parent waits until the program is executed, so a process of the container never has such a parent.
 * @param digest SHA-256 of a file, undefined where it cannot be read
 */
export async function isRuntimeStarting(proc: string, process: StartingProcess, digest: (path: string) => Promise<Buffer | undefined>): Promise<boolean> {
  try {
    const parent = await parentOf(proc, process.pid);
    if (parent === undefined || CONTAINER_ID.test(await readFile(`${proc}/${parent}/cgroup`, "latin1"))) return false;
    const [own, others] = await Promise.all([digest(`${proc}/${process.pid}/exe`), digest(`${proc}/${parent}/exe`)]);
    if (!own || !others || !own.equals(others)) return false;
    const mapped = await mappedFiles(proc, parent);
    return process.mappings.every(({ device, inode }) => `${device}:${inode}` === process.program || mapped.has(`${device}:${inode}`));
  } catch {
    return false;
  }
}

async function parentOf(proc: string, pid: number): Promise<number | undefined> {
  const line = await readFile(`${proc}/${pid}/stat`, "latin1");
  const parent = Number(line.slice(line.lastIndexOf(")") + 2).split(" ")[1]);
  return parent > 1 ? parent : undefined;
}

/** Executable file mappings as `major:minor:inode`, decimal. */
async function mappedFiles(proc: string, pid: number): Promise<ReadonlySet<string>> {
  const maps = await readFile(`${proc}/${pid}/maps`, "latin1");
  const lines = maps.matchAll(/^\S+ ..x. \S+ ([0-9a-f]+):([0-9a-f]+) (\d+) /gm);
  return new Set([...lines].map(([, major = "", minor = "", inode]) => `${Number.parseInt(major, 16)}:${Number.parseInt(minor, 16)}:${inode}`));
}
