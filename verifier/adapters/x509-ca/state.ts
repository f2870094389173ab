/**
 * The CA on disk: `ca-key.pem` (mode 0600; the URI of the key where it is in a token) and `ca.pem`, both made at the first start or neither. After a rotation also `previous.pem`, the root that gave way and is
 * trusted still, and `cross.pem`, certificates of present keys by roots that gave way, the newest first. A rotation that was cut short is finished at the next start.
 */
import { access, mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { CertificateAuthorityError } from "../../ports/certificate-authority.ts";

export interface CaFiles {
  /** PKCS #8 in PEM, or the URI of a key in a token. */
  readonly key: string;
  readonly certificatePem: string;
  /** PEM; empty: none. */
  readonly previousPem: string;
  readonly crossPem: string;
}

/** The certificate last: it stands for the whole. */
const PARTS = [
  ["ca-key.pem", "key", 0o600],
  ["previous.pem", "previousPem", 0o644],
  ["cross.pem", "crossPem", 0o644],
  ["ca.pem", "certificatePem", 0o644],
] as const;
/** Where a new CA is put together before it takes its place. */
const STAGE = "next";

/** undefined when there is no CA yet. @throws CertificateAuthorityError STATE when a part is missing or the key may be read by others */
export async function readCa(directory: string): Promise<CaFiles | undefined> {
  await takePlace(directory);
  const keyPath = join(directory, "ca-key.pem");
  const certificatePath = join(directory, "ca.pem");
  const [hasKey, hasCertificate] = await Promise.all([exists(keyPath), exists(certificatePath)]);
  if (!hasCertificate) return undefined; // a key alone: a first start that was cut short
  if (!hasKey) throw new CertificateAuthorityError("STATE", `${certificatePath} is there without its key`);
  const { mode } = await stat(keyPath);
  if ((mode & 0o077) !== 0) throw new CertificateAuthorityError("STATE", `${keyPath} may be read by others (mode 0${(mode & 0o777).toString(8)})`);
  const [key, certificatePem] = await Promise.all([readFile(keyPath, "utf8"), readFile(certificatePath, "utf8")]);
  const [previousPem, crossPem] = await Promise.all(["previous.pem", "cross.pem"].map((name) => readIfThere(join(directory, name))));
  return { key, certificatePem, previousPem: previousPem ?? "", crossPem: crossPem ?? "" };
}

/** Durable on return, and whole or not at all: what a crash cuts short is either not begun or finished by {@link readCa}. */
export async function writeCa(directory: string, files: CaFiles): Promise<void> {
  const stage = join(directory, STAGE);
  await rm(stage, { recursive: true, force: true });
  await mkdir(stage, { recursive: true, mode: 0o700 });
  for (const [name, part, mode] of PARTS) await writeDurably(join(stage, name), files[part], mode);
  await syncDirectory(stage);
  await takePlace(directory);
}

/** The root that gave way is trusted no more. Durable on return. */
export async function forgetPrevious(directory: string): Promise<void> {
  await rm(join(directory, "previous.pem"), { force: true });
  await syncDirectory(directory);
}

/** Moves what is whole in the stage; the certificate, which stands for the whole, goes last. */
async function takePlace(directory: string): Promise<void> {
  const stage = join(directory, STAGE);
  if (!(await exists(join(stage, "ca.pem")))) return;
  for (const [name] of PARTS) if (await exists(join(stage, name))) await rename(join(stage, name), join(directory, name));
  await syncDirectory(directory);
  await rm(stage, { recursive: true, force: true });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function readIfThere(path: string): Promise<string | undefined> {
  return (await exists(path)) ? await readFile(path, "utf8") : undefined;
}

async function writeDurably(path: string, content: string, mode: number): Promise<void> {
  const handle = await open(path, "wx", mode);
  try {
    await handle.chmod(mode);
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  await handle.sync().finally(() => handle.close());
}
