/** The CA's key and root certificate on disk: `ca-key.pem` (mode 0600) and `ca.pem`, both made at the first start or neither. */
import { createPrivateKey, type webcrypto } from "node:crypto";
import { access, mkdir, open, readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { CertificateAuthorityError } from "../../ports/certificate-authority.ts";

export interface CaFiles {
  readonly keyPem: string;
  readonly certificatePem: string;
}

/** undefined when there is no CA yet. @throws CertificateAuthorityError STATE when a part is missing or the key may be read by others */
export async function readCa(directory: string): Promise<CaFiles | undefined> {
  const keyPath = join(directory, "ca-key.pem");
  const certificatePath = join(directory, "ca.pem");
  const [hasKey, hasCertificate] = await Promise.all([exists(keyPath), exists(certificatePath)]);
  if (!hasCertificate) return undefined; // a key alone: a first start that was cut short
  if (!hasKey) throw new CertificateAuthorityError("STATE", `${certificatePath} is there without its key`);
  const { mode } = await stat(keyPath);
  if ((mode & 0o077) !== 0) throw new CertificateAuthorityError("STATE", `${keyPath} may be read by others (mode 0${(mode & 0o777).toString(8)})`);
  return { keyPem: await readFile(keyPath, "utf8"), certificatePem: await readFile(certificatePath, "utf8") };
}

/** Durable; the certificate last, so that it stands for the pair. */
export async function writeCa(directory: string, files: CaFiles): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await replace(join(directory, "ca-key.pem"), files.keyPem, 0o600);
  await replace(join(directory, "ca.pem"), files.certificatePem, 0o644);
  const handle = await open(directory, "r");
  await handle.sync().finally(() => handle.close());
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function replace(path: string, content: string, mode: number): Promise<void> {
  const handle = await open(`${path}.new`, "w", mode);
  try {
    await handle.chmod(mode);
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${path}.new`, path);
}

export async function importSigningKey(keyPem: string): Promise<webcrypto.CryptoKey> {
  try {
    const pkcs8 = createPrivateKey(keyPem).export({ format: "der", type: "pkcs8" });
    return await crypto.subtle.importKey("pkcs8", new Uint8Array(pkcs8), { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
  } catch (cause) {
    throw new CertificateAuthorityError("STATE", "the CA's key is damaged", { cause });
  }
}
