/** Signing with keys that are in memory: read from a file, for example. And what is common to those and keys in tokens. */
import { createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { SignerError } from "../../ports/signer.ts";
import type { KeyToken, SigningKey } from "../../ports/signing-key.ts";

/** The digest that a signature by this public key is over; null: the key takes the message itself. undefined: no key that we sign with. */
export function digestOf(key: KeyObject): "sha256" | "sha384" | null | undefined {
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === "ed25519") return null;
  if (key.asymmetricKeyType === "ec" && namedCurve === "prime256v1") return "sha256";
  if (key.asymmetricKeyType === "ec" && namedCurve === "secp384r1") return "sha384";
  return key.asymmetricKeyType === "rsa" && modulusLength >= 2048 ? "sha256" : undefined;
}

/** @param what the key, in an error @throws SignerError KEY_MALFORMED */
export function signingKeyOf(privateKey: KeyObject, what: string): SigningKey {
  const publicKey = createPublicKey(privateKey);
  const digest = digestOf(publicKey);
  if (digest === undefined) throw new SignerError("KEY_MALFORMED", `${what}: want ECDSA P-256 or P-384, Ed25519, or RSA of 2,048 bits or more`);
  return {
    spki: publicKey.export({ type: "spki", format: "der" }),
    sign: async (message) => sign(digest, message, privateKey),
  };
}

/** A key as it is kept: PKCS#8 in PEM, or the URI of one in a token. @param file where it was read, for errors @throws SignerError */
export async function openStoredKey(stored: string, file: string, token: KeyToken | undefined): Promise<SigningKey> {
  if (isTokenKey(stored)) return await needToken(token, file).open(stored.trim());
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(stored);
  } catch {
    throw new SignerError("KEY_MALFORMED", `${file} holds no private key`);
  }
  return signingKeyOf(privateKey, file);
}

/** Whether a key file has, in the place of a key, the URI of one in a token. */
export function isTokenKey(stored: string): boolean {
  return stored.startsWith("pkcs11:");
}

/** @param file that names a key in a token @throws SignerError TOKEN_URI */
export function needToken(token: KeyToken | undefined, file: string): KeyToken {
  if (!token) throw new SignerError("TOKEN_URI", `${file} names a key in a token, and no token is configured (keys.pkcs11)`);
  return token;
}

/** `r ‖ s` of an ECDSA-Sig-Value that this verifier's own key made. @param bytes of each */
export function rawSignature(der: Uint8Array, bytes: number): Buffer {
  const raw = Buffer.alloc(2 * bytes);
  let at = 2;
  for (const end of [bytes, 2 * bytes]) {
    const length = der[at + 1] as number;
    const value = Buffer.from(der.subarray(at + 2, at + 2 + length));
    const from = Math.max(0, value.length - bytes);
    value.copy(raw, end - (value.length - from), from);
    at += 2 + length;
  }
  return raw;
}
