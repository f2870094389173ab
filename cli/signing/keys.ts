/** Key pairs for signing: made, read and used. A private key never leaves this module but as a file that its owner alone can read. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { Pkcs11Token } from "@hullmark/verifier/adapters/pkcs11/index";
import { isTokenKey, signingKeyOf } from "@hullmark/verifier/core/keys/signing-key";
import { SignerError } from "@hullmark/verifier/ports/signer";
import type { SigningKey as PlainKey } from "@hullmark/verifier/ports/signing-key";
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

/** A new ECDSA P-256 key in memory alone, whose private half ends with the process. */
export function temporaryKey(): SigningKey {
  return namedByHint(signingKeyOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey, "the temporary key"), async () => {});
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
  /** ECDSA in DER with the digest that pairs with the curve, Ed25519, or RSA PKCS#1 v1.5 with SHA-256. @throws SigningError KEY */
  sign(message: Uint8Array): Promise<Buffer>;
  /** Lets go of the token, where it is in one. */
  close(): Promise<void>;
}

/** @param key path of a private key file, or the URI of a key in a PKCS#11 token @param env has the passphrase, and may have the PIN @throws SigningError KEY, FILE */
export async function loadSigningKey(key: string, env: Readonly<Record<string, string | undefined>>): Promise<SigningKey> {
  if (!isTokenKey(key)) return namedByHint(await readKeyFile(key, env[PASSPHRASE_VARIABLE] || undefined), async () => {});
  return await inToken(key, env, (token) => token.openNamed());
}

/** The public key in a PEM file, or of a key in a PKCS#11 token. @throws SigningError USAGE, FILE, KEY */
export async function loadPublicKey(key: string, env: Readonly<Record<string, string | undefined>>): Promise<string> {
  if (isTokenKey(key)) {
    const { publicKeyPem, close } = await loadSigningKey(key, env);
    await close();
    return publicKeyPem;
  }
  const [scheme] = /^[a-z][a-z0-9+.-]*:\/\//i.exec(key) ?? [];
  if (scheme !== undefined) throw new SigningError("USAGE", `${scheme}… is not asked for keys: write the public key to a file (cosign public-key --key URI)`);
  const pem = await readText(key);
  if (pem.includes("-----BEGIN CERTIFICATE-----"))
    throw new SigningError(
      "USAGE",
      `${key} holds a certificate: its bare key is "openssl x509 -pubkey -noout -in ${key}"; signatures by certificate are told by "policy explain"`,
    );
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) throw new SigningError("USAGE", `${key} holds a private key: give its public half`);
  return pem;
}

/** A new ECDSA P-256 pair in a PKCS#11 token, which its private half never leaves. @throws SigningError KEY, also where there is one of this name */
export async function makeTokenKey(uri: string, env: Readonly<Record<string, string | undefined>>): Promise<SigningKey> {
  return await inToken(uri, env, (token) => token.makeNamed());
}

async function inToken(
  uri: string,
  environment: Readonly<Record<string, string | undefined>>,
  get: (token: Pkcs11Token) => Promise<PlainKey>,
): Promise<SigningKey> {
  const token = await forPeople(async () => new Pkcs11Token({ uri, environment }));
  try {
    const { spki, sign } = await forPeople(() => get(token));
    return namedByHint({ spki, sign: (message) => forPeople(() => sign(message)) }, () => token.close());
  } catch (error) {
    await token.close();
    throw error;
  }
}

async function forPeople<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw cause instanceof SignerError ? new SigningError("KEY", cause.message, { cause }) : cause;
  }
}

function namedByHint({ spki, sign }: PlainKey, close: () => Promise<void>): SigningKey {
  const publicKeyPem = createPublicKey({ key: spki, format: "der", type: "spki" }).export({ type: "spki", format: "pem" }).toString();
  return { hint: createHash("sha256").update(spki).digest("base64"), publicKeyPem, sign, close };
}

async function readKeyFile(path: string, passphrase: string | undefined): Promise<PlainKey> {
  const pem = await readText(path);
  if (pem.includes("ENCRYPTED SIGSTORE PRIVATE KEY") || pem.includes("ENCRYPTED COSIGN PRIVATE KEY")) {
    throw new SigningError("KEY", `${path} is in cosign's own format: make a key with "keygen" or give one in PKCS#8`);
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
  return await forPeople(async () => signingKeyOf(key, path));
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
