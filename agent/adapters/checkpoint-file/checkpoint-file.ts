/** {@link CheckpointMemory} in one small file, replaced as a whole. Not synced: what a crash of the machine loses is the newest minute's. */
import { closeSync, constants, openSync, readSync, renameSync, rmSync, writeFileSync } from "node:fs";
import type { CheckpointMemory } from "../../ports/checkpoint-memory.ts";

const MAX_FILE_BYTES = 8192;

export function checkpointFile(path: string): CheckpointMemory {
  return {
    read() {
      let fd: number | undefined;
      try {
        fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
        const buffer = Buffer.alloc(MAX_FILE_BYTES);
        return buffer.toString("utf8", 0, readSync(fd, buffer, 0, MAX_FILE_BYTES, 0));
      } catch {
        return "";
      } finally {
        if (fd !== undefined) closeSync(fd);
      }
    },
    write(note) {
      const draft = `${path}.new`;
      rmSync(draft, { force: true });
      writeFileSync(draft, note, { mode: 0o600, flag: "wx" });
      renameSync(draft, path);
    },
  };
}
