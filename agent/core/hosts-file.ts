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
