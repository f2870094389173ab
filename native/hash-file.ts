/** One file's content, hashed on a native thread of its own. */
import { loadAddon } from "./loader.ts";

interface HashAddon {
  hashFile(path: string, maxBytes: number): Promise<Buffer | undefined>;
}

/**
 * SHA-256 of a regular file. Links are followed, those of procfs too.
 * @param maxBytes largest size that is read, ≥ 0
 * @returns undefined: gone, no regular file, no right, larger, or changed while it was read
 * @throws Error with code `EAGAIN` where no thread can be had
 */
export async function hashFile(path: string, maxBytes: number): Promise<Buffer | undefined> {
  return (loadAddon() as HashAddon).hashFile(path, maxBytes);
}
