/** Key pairs for signing: made, read and used. A private key never leaves this module but as a file that its owner alone can read. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { because } from "../output/because.ts";
import { SigningError } from "./errors.ts";

/** Environment variable with the passphrase of the private key. */
export const PASSPHRASE_VARIABLE = "HULLMARK_KEY_PASSPHRASE";
const MAX_KEY_BYTES = 64 * 1024;

export interface KeyPairPem {
  /** PKCS#8, encrypted where there is a passphrase (PBES2: PBKDF2 and AES-256-CBC). */
  readonly privateKey: string;
  /** SubjectPublicKeyInfo. */
  readonly publicKey: string;
}

/** A new ECDSA P-256 pair. */
export function generateKeyPair(passphrase: string | undefined): KeyPairPem {
  return generateKeyPairSync("ec", {
    namedCurve: "P-256",
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem", ...(passphrase === undefined ? {} : { cipher: "aes-256-cbc", passphrase }) },
  });
}

/** Writes a file that must not exist yet, durable on return. @throws SigningError FILE */
export async function writeNew(path: string, content: string, mode: number): Promise<void> {
  try {
    const file = await open(path, "wx", mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    const exists = cause instanceof Error && "code" in cause && cause.code === "EEXIST";
    throw new SigningError("FILE", exists ? `${path} is there already: it is never overwritten` : `${path} cannot be written: ${because(cause)}`, { cause });
  }
}

/** What signs. */
export interface SigningKey {
  /** base64(SHA-256(SPKI DER)): the hint by which bundles name a key. */
  readonly hint: string;
  readonly publicKeyPem: string;
  /** ECDSA in DER with the digest that pairs with the curve, Ed25519, or RSA PKCS#1 v1.5 with SHA-256. */
  sign(message: Uint8Array): Buffer;
}

/** Reads a private key file. @throws SigningError KEY, FILE */
export async function loadSigningKey(path: string, passphrase: string | undefined): Promise<SigningKey> {
  const pem = await readText(path);
  if (pem.includes("ENCRYPTED SIGSTORE PRIVATE KEY") || pem.includes("ENCRYPTED COSIGN PRIVATE KEY")) {
    throw new SigningError("KEY", `${path} is in cosign's own format: make a key with "hullmark keygen" or give one in PKCS#8`);
  }
  const encrypted = pem.includes("-----BEGIN ENCRYPTED PRIVATE KEY-----");
  if (encrypted && passphrase === undefined) throw new SigningError("KEY", `${path} is encrypted: set ${PASSPHRASE_VARIABLE}`);
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: pem, format: "pem", ...(encrypted ? { passphrase } : {}) });
  } catch {
    // The cause is left out: OpenSSL's text adds nothing and could one day quote the input.
    throw new SigningError("KEY", `${path} cannot be read as a private key${encrypted ? ", or the passphrase is another" : ""}`);
  }
  const publicKey = createPublicKey(key);
  const digest = digestFor(publicKey, path);
  const hint = createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("base64");
  return { hint, publicKeyPem: publicKey.export({ type: "spki", format: "pem" }).toString(), sign: (message) => sign(digest, message, key) };
}

function digestFor(key: KeyObject, path: string): string | null {
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === "ed25519") return null;
  if (key.asymmetricKeyType === "ec" && namedCurve === "prime256v1") return "sha256";
  if (key.asymmetricKeyType === "ec" && namedCurve === "secp384r1") return "sha384";
  if (key.asymmetricKeyType === "rsa" && modulusLength >= 2048) return "sha256";
  throw new SigningError("KEY", `${path}: want ECDSA P-256 or P-384, Ed25519, or RSA of 2,048 bits or more`);
}

/** Reads a public key in PEM, for use as an authority's. @throws SigningError FILE */
export async function readText(path: string): Promise<string> {
  try {
    const bytes = await readFile(path);
    if (bytes.length > MAX_KEY_BYTES) throw new RangeError(`${bytes.length} bytes, limit ${MAX_KEY_BYTES}`);
    return bytes.toString("utf8");
  } catch (cause) {
    throw new SigningError("FILE", `${path} cannot be read: ${because(cause)}`, { cause });
  }
}
