import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { NodeFile, NodeFiles } from "../../ports/node-files.ts";

export const nodeFiles: NodeFiles = {
  async read(path: string, maxBytes: number): Promise<NodeFile | undefined> {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(() => undefined);
    if (!handle) return undefined;
    try {
      const stat = await handle.stat();
      if (!stat.isFile() || stat.size > maxBytes) return undefined;
      const content = Buffer.alloc(stat.size + 1);
      let length = 0;
      while (length < content.length) {
        const { bytesRead } = await handle.read(content, length, content.length - length, length);
        if (bytesRead === 0) break;
        length += bytesRead;
      }
      // It grew while it was read: the next look will find it at rest.
      if (length > stat.size) return undefined;
      const whole = content.subarray(0, length);
      return { content: whole, sha256: createHash("sha256").update(whole).digest(), mode: stat.mode & 0o7777 };
    } finally {
      await handle.close();
    }
  },
};
