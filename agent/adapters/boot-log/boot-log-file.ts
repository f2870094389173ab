/** The event log in securityfs, whose files have no size: read to the end, within a bound. Nothing is kept in memory between two readings. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { BootLog } from "../../ports/boot-log.ts";

/** As much as the verifier takes. */
export const MAX_BOOT_LOG_BYTES = 1 << 20;
const CHUNK_BYTES = 65_536;
const NONE = Buffer.alloc(0);

/** @param path undefined: the node has none. A file that is missing is no problem: machines without measured boot have none */
export async function openBootLog(path: string | undefined): Promise<BootLog> {
  if (path === undefined) return { sha256: NONE, problem: undefined, read: async () => NONE };
  const first = await readWhole(path);
  if (!first.ok) return { sha256: NONE, problem: first.missing ? undefined : first.problem, read: async () => NONE };
  const sha256 = createHash("sha256").update(first.bytes).digest();
  return {
    sha256,
    problem: undefined,
    read: async () => {
      const now = await readWhole(path);
      return now.ok && createHash("sha256").update(now.bytes).digest().equals(sha256) ? now.bytes : NONE;
    },
  };
}

type Reading = { readonly ok: true; readonly bytes: Buffer } | { readonly ok: false; readonly missing: boolean; readonly problem: string };

async function readWhole(path: string): Promise<Reading> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const chunks: Buffer[] = [];
    for (let length = 0; ; ) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, null);
      if (bytesRead === 0) break;
      length += bytesRead;
      if (length > MAX_BOOT_LOG_BYTES) return { ok: false, missing: false, problem: `the event log is larger than ${MAX_BOOT_LOG_BYTES} bytes` };
      chunks.push(buffer.subarray(0, bytesRead));
    }
    const bytes = Buffer.concat(chunks);
    return bytes.length > 0 ? { ok: true, bytes } : { ok: false, missing: true, problem: "empty" };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { ok: false, missing: code === "ENOENT" || code === "ENOTDIR", problem: message };
  }
}
