/** A hosts file (hosts(5)) as the engine would declare its lines. */

/** Larger ones are not read. */
export const MAX_HOSTS_BYTES = 64 * 1024;

/** `NAME:ADDRESS` for every name. @param text of the node's own hosts file; one that is too large counts as empty */
export function hostsEntries(text: string): string[] {
  if (text.length > MAX_HOSTS_BYTES) return [];
  return text.split("\n").flatMap((line) => {
    const [address = "", ...names] = line.replace(/#.*$/, "").trim().split(/\s+/);
    return names.map((name) => `${name}:${address}`);
  });
}

/**
 * The node's own hosts file, as it is now. The agent's in a pod is another one, or, bound into it, the node's of when the pod was made: what replaces a file by renaming (Ansible,
 * sed -i) leaves that one behind.
 * @param proc where the node's procfs is mounted @returns latin1; empty: none can be read
 */
export async function nodeHosts(read: (path: string) => Promise<string>, proc = "/proc"): Promise<string> {
  const own = () => read("/etc/hosts").catch(() => "");
  return await read(`${proc}/1/root/etc/hosts`).catch(own);
}
