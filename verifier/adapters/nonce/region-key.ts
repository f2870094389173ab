/**
 * The region's nonce key on disk: made at first start, mode 0600. Verifiers of one region share the file's content; no other region has it. Where there is a token,
 * the file names a secret key in it, and what makes nonces is derived by the token from that key: it is in this process's memory alone (docs/adr/0019).
 */
import { randomBytes } from "node:crypto";
import { link, lstat, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isTokenKey, needToken } from "../../core/keys/signing-key.ts";
import type { KeyToken } from "../../ports/signing-key.ts";
import { REGION_KEY_BYTES } from "./hmac-nonce-source.ts";

/** What the token derives the key from: for this use and no other. */
const DERIVED_FOR = Buffer.from("hullmark-region-key-v1");
const MAX_FILE_BYTES = 4096;
/** How names of drafts end. */
const DRAFT = /\.[0-9a-f]{16}\.new$/;

/** @throws Error when the file may be read by others or has another length; SignerError */
export async function loadRegionKey(path: string, token?: KeyToken): Promise<Buffer> {
  const stored = (await readIfThere(path)) ?? (await makeFirst(path, token));
  await dropSecondNames(path);
  return await secretOf(stored, path, token);
}

/** A new key in the place of the one on disk. Durable on return; a crash leaves the one or the other. @throws as {@link loadRegionKey} */
export async function replaceRegionKey(path: string, token?: KeyToken): Promise<Buffer> {
  const before = await readIfThere(path);
  const uri = before && isTokenKey(before.toString("latin1")) ? before.toString("utf8") : undefined;
  const stored = await newKey(token, uri);
  const key = await secretOf(stored, path, token);
  await putInPlace(path, stored, async (draft) => await rename(draft, path));
  if (uri !== undefined) await token?.drop(uri);
  return key;
}

/** One key, whichever of several verifiers makes it: those that come second take what is there. @returns what the file has */
async function makeFirst(path: string, token: KeyToken | undefined): Promise<Buffer> {
  const made = await newKey(token, undefined);
  const isFirst = await putInPlace(path, made, async (draft) => {
    return await link(draft, path).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code === "EEXIST") return false;
        throw error;
      },
    );
  });
  if (isFirst) return made;
  const stored = await readIfThere(path);
  if (!stored) throw new Error(`${path} was taken away while it was made`);
  if (token && !stored.equals(made)) await token.drop(made.toString("utf8"));
  return stored;
}

async function newKey(token: KeyToken | undefined, after: string | undefined): Promise<Buffer> {
  return token ? Buffer.from(await token.make("secret", "nonce", after)) : randomBytes(REGION_KEY_BYTES);
}

async function secretOf(stored: Buffer, path: string, token: KeyToken | undefined): Promise<Buffer> {
  // A key of ours has no more bytes than this, a URI never so few.
  if (stored.length === REGION_KEY_BYTES) return stored;
  const uri = stored.toString("utf8");
  if (!isTokenKey(uri)) throw new Error(`${path} has ${stored.length} bytes, want ${REGION_KEY_BYTES}`);
  return await needToken(token, path).hmac(uri, DERIVED_FOR);
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  const handle = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (!handle) return undefined;
  try {
    const { mode, size } = await handle.stat();
    if ((mode & 0o077) !== 0) throw new Error(`${path} may be read by others (mode 0${(mode & 0o777).toString(8)})`);
    if (size > MAX_FILE_BYTES) throw new Error(`${path} has ${size} bytes, want ${REGION_KEY_BYTES}`);
    return await readFile(handle);
  } finally {
    await handle.close();
  }
}

/** A crash of {@link makeFirst} leaves the name of the draft beside the key's own: whoever destroys the key by its name would leave it there. */
async function dropSecondNames(path: string): Promise<void> {
  const { dev, ino, nlink } = await stat(path);
  if (nlink === 1) return;
  const directory = dirname(path);
  for (const name of await readdir(directory)) {
    if (!name.startsWith(`${basename(path)}.`) || !DRAFT.test(name)) continue;
    const draft = join(directory, name);
    // Another verifier that has just made the key takes its own away.
    const found = await lstat(draft).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (found?.dev === dev && found.ino === ino) await rm(draft, { force: true });
  }
}

/** The content is whole and durable in a file of its own before `put` gives it its name, and the name is durable on return. */
async function putInPlace<T>(path: string, content: Buffer, put: (draft: string) => Promise<T>): Promise<T> {
  const draft = `${path}.${randomBytes(8).toString("hex")}.new`;
  try {
    const file = await open(draft, "wx", 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    const done = await put(draft);
    const directory = await open(dirname(path), "r");
    await directory.sync().finally(() => directory.close());
    return done;
  } finally {
    await rm(draft, { force: true });
  }
}
