/** One file's content, read below a directory that a hostile process may be changing. */
import { loadAddon } from "./loader.ts";

interface ReadAddon {
  readFileBelow(root: Uint8Array, path: Uint8Array, maxBytes: number, asItIs: boolean): Promise<Buffer>;
}

/**
 * Follows no symlink, crosses no mount, leaves the directory by no name, and opens nothing but a regular file; one with one name, unless it is wanted as it is.
 * @param root directory; itself followed
 * @param path raw bytes without leading slash, and without `.`, `..` or NUL
 * @param maxBytes largest size that is read, ≥ 0
 * @param asItIs whatever other names it has, and what was read where it changes meanwhile, at most its size of before
 * @throws an error with code `NOT_A_FILE`, `TOO_LARGE`, `OTHER_NAMES`, `UNSTABLE` (it changed while it was read) or a system's (`ENOENT`, `ELOOP`, `EXDEV`)
 */
export async function readFileBelow(root: string, path: Uint8Array, maxBytes: number, asItIs = false): Promise<Buffer> {
  return (loadAddon() as ReadAddon).readFileBelow(Buffer.from(root), path, maxBytes, asItIs);
}
