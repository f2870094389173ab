/** The OCI runtime configuration by which a container was really started, from its bundle. */
import { readFile, readlink } from "node:fs/promises";
import { type OciSpec, parseOciSpec } from "../../core/oci-spec.ts";
import { parentPid } from "../../core/process-stat.ts";

/** @returns pid of the process that started it: the container's shim. @throws the system's error */
export async function parentOf(pid: number): Promise<number> {
  return parentPid(await readFile(`/proc/${pid}/stat`, "latin1"));
}

/**
 * Docker's shim is the parent of the container's first process and works in the bundle's directory.
 * undefined where the bundle cannot be found: the engine's own inspection must then do.
 */
export async function readOciSpec(pid: number, containerId: string): Promise<OciSpec | undefined> {
  try {
    const parent = await parentOf(pid);
    const bundle = await readlink(`/proc/${parent}/cwd`);
    if (!bundle.endsWith(`/${containerId}`)) return undefined;
    // Through the shim, whose mount namespace may be another than the agent's.
    return parseOciSpec(await readFile(`/proc/${parent}/cwd/config.json`, "utf8"));
  } catch {
    return undefined;
  }
}
