/** The attestation key between runs: blobs that only this TPM can load, and the authValue that keeps other users of the TPM from using it. */
import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { EK_KINDS, type EkKind, type TpmKeyBlobs } from "@hullmark/native";
import { QuoterError } from "../../ports/quoter.ts";

export interface StoredAk {
  readonly ekKind: EkKind;
  readonly blobs: TpmKeyBlobs;
  /** 32 bytes: a secret. */
  readonly auth: Buffer;
}

const VERSION = 1;
const MAX_FILE_BYTES = 16 * 1024;

/** undefined when there is no file yet. @throws QuoterError STATE when others may read it, or it does not parse */
export async function readAk(path: string): Promise<StoredAk | undefined> {
  const handle = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new QuoterError("STATE", `cannot read ${path}`, { cause: error });
  });
  if (!handle) return undefined;
  try {
    const { mode, size } = await handle.stat();
    if ((mode & 0o077) !== 0)
      throw new QuoterError("STATE", `${path} may be read by others (mode 0${(mode & 0o777).toString(8)}): remove it, a new key will be made`);
    if (size > MAX_FILE_BYTES) throw new QuoterError("STATE", `${path} is ${size} bytes long`);
    return parse(await handle.readFile("utf8"), path);
  } finally {
    await handle.close();
  }
}

function parse(text: string, path: string): StoredAk {
  try {
    const { version, ekKind, publicArea, privateArea, auth } = JSON.parse(text) as Record<string, unknown>;
    const kind = EK_KINDS.find((each) => each === ekKind);
    if (version !== VERSION || kind === undefined) throw new Error("unknown version or EK kind");
    const bytes = (value: unknown): Buffer => {
      if (typeof value !== "string") throw new Error("a field is missing");
      return Buffer.from(value, "base64");
    };
    const stored = { ekKind: kind, blobs: { publicArea: bytes(publicArea), privateArea: bytes(privateArea) }, auth: bytes(auth) };
    if (stored.auth.length !== 32) throw new Error("the authValue is not 32 bytes");
    return stored;
  } catch (cause) {
    throw new QuoterError("STATE", `${path} is damaged: remove it, a new key will be made`, { cause });
  }
}

/** Durable, mode 0600, all or nothing. */
export async function writeAk(path: string, { ekKind, blobs, auth }: StoredAk): Promise<void> {
  const fields = { publicArea: blobs.publicArea.toString("base64"), privateArea: blobs.privateArea.toString("base64"), auth: auth.toString("base64") };
  const temporary = join(dirname(path), `.ak-${randomBytes(6).toString("hex")}`);
  try {
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(`${JSON.stringify({ version: VERSION, ekKind, ...fields })}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
    const directory = await open(dirname(path), "r");
    await directory.sync().finally(() => directory.close());
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new QuoterError("STATE", `cannot write ${path}`, { cause });
  }
}
