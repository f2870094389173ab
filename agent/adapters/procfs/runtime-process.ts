/**
 * The runtime's own process inside a container: `runc init` has joined the cgroup and the namespaces and is about to execute the container's program
 * (CVE-2019-5736 made it run from a sealed copy of itself, which looks just like an attack from memory). Every `docker exec` and health check has one.
 */
import { readFile, stat } from "node:fs/promises";
import { containerOf } from "@hullmark/native";
import { deviceName } from "../../core/device-name.ts";
import { parentPid } from "../../core/process-stat.ts";
import { readMappings } from "./mappings.ts";

/** Low-level runtimes by the names under which shims look for them. */
const RUNTIMES = ["runc", "crun"];
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const MAX_PATH_FOLDERS = 32;

export interface StartingProcess {
  readonly pid: number;
  /** `major:minor:inode` of the program. */
  readonly program: string;
  readonly mappings: readonly { readonly device: string; readonly inode: string; readonly path: string }[];
}

/**
 * Whether the process is still the runtime. Its parent is outside of every container, and either runs the same content (runc waits until the program is
 * executed), or is the shim that took it over when `runc create` had ended and has that content under a runtime's name in its own search path. Every other
 * executable mapping is the very file of the node. A process of the container never has such a parent, but one that runs the node's own runtime.
 * @param digest SHA-256 of a file, undefined where it cannot be read
 */
export async function isRuntimeStarting(proc: string, process: StartingProcess, digest: (path: string) => Promise<Buffer | undefined>): Promise<boolean> {
  try {
    const parent = await parentOf(proc, process.pid);
    if (parent === undefined || containerOf(parent) !== "") return false;
    const own = await digest(`${proc}/${process.pid}/exe`);
    if (!own) return false;
    const others = process.mappings.filter(({ device, inode }) => `${device}:${inode}` !== process.program);
    if ((await digest(`${proc}/${parent}/exe`))?.equals(own)) {
      const mapped = new Set((await readMappings(`${proc}/${parent}`)).mappings.map(({ device, inode }) => `${device}:${inode}`));
      return others.every(({ device, inode }) => mapped.has(`${device}:${inode}`));
    }
    const root = `${proc}/${parent}/root`;
    return (
      (await hasRuntime(root, await searchPath(proc, parent), own, digest)) && (await Promise.all(others.map((each) => isFileOf(root, each)))).every(Boolean)
    );
  } catch {
    return false;
  }
}

async function hasRuntime(root: string, folders: readonly string[], own: Buffer, digest: (path: string) => Promise<Buffer | undefined>): Promise<boolean> {
  for (const folder of folders) for (const name of RUNTIMES) if ((await digest(`${root}${folder}/${name}`))?.equals(own)) return true;
  return false;
}

async function isFileOf(root: string, { device, inode, path }: StartingProcess["mappings"][number]): Promise<boolean> {
  const file = await stat(Buffer.from(root + path, "latin1"));
  return `${deviceName(file.dev)}:${file.ino}` === `${device}:${inode}`;
}

async function searchPath(proc: string, pid: number): Promise<string[]> {
  const environment = (await readFile(`${proc}/${pid}/environ`, "latin1")).split("\0");
  const path = environment.find((entry) => entry.startsWith("PATH="))?.slice("PATH=".length) ?? DEFAULT_PATH;
  return path
    .split(":")
    .filter((folder) => folder.startsWith("/"))
    .slice(0, MAX_PATH_FOLDERS);
}

async function parentOf(proc: string, pid: number): Promise<number | undefined> {
  const parent = parentPid(await readFile(`${proc}/${pid}/stat`, "latin1"));
  return parent > 1 ? parent : undefined;
}
