/** Namespaces that a process shares with the host, as the kernel has it: a container that joins one that is in the host's is there too, and its own settings do not say so. */
import { readlink } from "node:fs/promises";

/** Names as `ContainerConfiguration.host_namespaces` has them. User and control group namespaces are the host's unless an engine is set up otherwise. */
const NAMESPACES = ["pid", "net", "ipc", "uts"] as const;

/** The host's are those of its first process. @param proc a procfs of the host's pid namespace @returns none where the process is gone, or one of both may not be looked at */
export async function namespacesOfHost(pid: number, proc = "/proc"): Promise<string[]> {
  const read = (of: string, name: string): Promise<string | undefined> => readlink(`${proc}/${of}/ns/${name}`).catch(() => undefined);
  const shared = await Promise.all(
    NAMESPACES.map(async (name) => {
      const its = await read(String(pid), name);
      return its !== undefined && its === (await read("1", name));
    }),
  );
  return NAMESPACES.filter((_, i) => shared[i]);
}
