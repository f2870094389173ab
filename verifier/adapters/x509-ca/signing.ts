/** Lets @peculiar/x509 sign with a key that may lie anywhere: it asks a Web Cryptography provider, and of that for a signature alone. */
import type { webcrypto } from "node:crypto";
import { rawSignature } from "../../core/keys/signing-key.ts";
import type { SigningKey } from "../../ports/signing-key.ts";

const COORDINATE_BYTES = 32;

export interface CaSigner {
  readonly signingKey: webcrypto.CryptoKey;
  readonly provider: webcrypto.Crypto;
}

/** @param key ECDSA P-256 */
export function caSigner(key: SigningKey): CaSigner {
  // Stands for the key, and holds nothing of it.
  const signingKey: webcrypto.CryptoKey = { type: "private", extractable: false, algorithm: { name: "ECDSA", namedCurve: "P-256" } as never, usages: ["sign"] };
  const sign = async (_algorithm: unknown, _key: unknown, message: ArrayBuffer): Promise<ArrayBuffer> =>
    Uint8Array.from(rawSignature(await key.sign(new Uint8Array(message)), COORDINATE_BYTES)).buffer;
  return { signingKey, provider: { subtle: { sign } } as unknown as webcrypto.Crypto };
}
