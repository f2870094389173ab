/** The region's nonce key on disk: made at first start, mode 0600. Verifiers of one region share the file's content; no other region has it. */
import { randomBytes } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { REGION_KEY_BYTES } from "./hmac-nonce-source.ts";

/** @throws Error when the file may be read by others or has another length */
export async function loadRegionKey(path: string): Promise<Buffer> {
  const created = await open(path, "wx", 0o600).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "EEXIST") return undefined;
    throw error;
  });
  if (created) {
    try {
      await created.writeFile(randomBytes(REGION_KEY_BYTES));
      await created.sync();
    } finally {
      await created.close();
    }
  }
  const handle = await open(path, "r");
  try {
    const { mode, size } = await handle.stat();
    if ((mode & 0o077) !== 0) throw new Error(`${path} may be read by others (mode 0${(mode & 0o777).toString(8)})`);
    if (size !== REGION_KEY_BYTES) throw new Error(`${path} has ${size} bytes, want ${REGION_KEY_BYTES}`);
    return await readFile(handle);
  } finally {
    await handle.close();
  }
}
