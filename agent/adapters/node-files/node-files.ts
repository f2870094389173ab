import { hash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import type { NodeFile, NodeFiles } from "../../ports/node-files.ts";

/**
 * Reads at once, not on another thread: these are small files that are looked at every few seconds, a hundred and more of them, and each hand-over to a
 * thread and back costs several times as much as reading. They lie in the page cache but for the first time.
 */
export const nodeFiles: NodeFiles = {
  async read(path: string, maxBytes: number): Promise<NodeFile | undefined> {
    const file = opened(path);
    if (file === undefined) return undefined;
    try {
      const stat = fstatSync(file);
      if (!stat.isFile() || stat.size > maxBytes) return undefined;
      const content = Buffer.alloc(stat.size + 1);
      // One byte more than there should be. Of a regular file the system gives less than is asked for only where it ends.
      const length = readSync(file, content, 0, content.length, 0);
      // It grew while it was read: the next look will find it at rest.
      if (length > stat.size) return undefined;
      const whole = content.subarray(0, length);
      return { content: whole, sha256: hash("sha256", whole, "buffer"), mode: stat.mode & 0o7777 };
    } finally {
      closeSync(file);
    }
  },
};

/** undefined: it cannot be opened. */
function opened(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
}
