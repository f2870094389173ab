/** The region's nonce key on disk: made at first start, mode 0600. Verifiers of one region share the file's content; no other region has it. */
import { randomBytes } from "node:crypto";
import { open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
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

/** A new key in the place of the one on disk. Durable on return; a crash leaves the one or the other. */
export async function replaceRegionKey(path: string): Promise<Buffer> {
  const key = randomBytes(REGION_KEY_BYTES);
  const draft = `${path}.new`;
  await rm(draft, { force: true });
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(key);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
  const directory = await open(dirname(path), "r");
  await directory.sync().finally(() => directory.close());
  return key;
}
