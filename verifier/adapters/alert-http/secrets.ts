/** Secrets of alert routes: read anew at every delivery, so that a file that was replaced counts from the next one on. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { SecretSource } from "../../core/policy/types.ts";
import { NotifierError } from "../../ports/notifier.ts";

const MAX_SECRET_BYTES = 4096;

export interface SecretPlaces {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Holds the files that policy may name; nothing outside is read. */
  readonly secretsDirectory: string;
}

/** Blank space around it is dropped. Rejects with NotifierError NOTIFY_SECRET, which never holds any of it. */
export type Secret = () => Promise<string>;

/** @param whose it is, for the error @throws Error where the variable is not set: that cannot change while the process runs */
export function secretOf(source: SecretSource, whose: string, { environment, secretsDirectory }: SecretPlaces): Secret {
  if ("fromFile" in source) return () => readSecret(secretsDirectory, source.fromFile);
  const value = environment[source.fromEnv]?.trim();
  if (value === undefined || value === "") throw new Error(`${whose}: environment variable ${source.fromEnv} is not set`);
  return () => Promise.resolve(value);
}

async function readSecret(directory: string, name: string): Promise<string> {
  const text = await readBounded(join(directory, name)).catch((cause: unknown) => {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "it is no file";
    throw new NotifierError("NOTIFY_SECRET", `the secret ${name} cannot be read: ${code}`, { cause });
  });
  const secret = text?.trim();
  if (secret === undefined || secret === "" || /[^\x20-\x7e]/.test(secret))
    throw new NotifierError("NOTIFY_SECRET", `the secret ${name} is not one line of printable ASCII, at most ${MAX_SECRET_BYTES} bytes`);
  return secret;
}

/** undefined: larger than a secret. */
async function readBounded(path: string): Promise<string | undefined> {
  // A FIFO must not hold up the delivery.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if (!(await file.stat()).isFile()) throw new Error("no file");
  const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_SECRET_BYTES + 1));
  return bytesRead > MAX_SECRET_BYTES ? undefined : buffer.toString("utf8", 0, bytesRead);
}
