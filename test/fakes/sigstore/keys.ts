/** ECDSA P-256 keys in the two forms that node:crypto and the certificate library want, and the little DER that neither writes. */
import { createHash, generateKeyPairSync, type KeyObject, webcrypto } from "node:crypto";

export interface TestKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly spki: Buffer;
  /** SHA-256 of the SPKI: what logs are called by. */
  readonly id: Buffer;
  readonly signer: webcrypto.CryptoKey;
  readonly verifier: webcrypto.CryptoKey;
}

export const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

export async function newKey(): Promise<TestKey> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const { subtle } = webcrypto;
  return {
    ...{ privateKey, publicKey, spki, id: sha256(spki) },
    signer: await subtle.importKey("pkcs8", privateKey.export({ type: "pkcs8", format: "der" }), P256, true, ["sign"]),
    verifier: await subtle.importKey("spki", spki, P256, true, ["verify"]),
  };
}

export function sha256(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** One DER value (X.690 section 8.1, definite form, at most 65,535 bytes). */
export function der(tag: number, content: Uint8Array): Buffer {
  const { length } = content;
  const size = length < 128 ? Buffer.of(length) : length < 256 ? Buffer.of(0x81, length) : Buffer.of(0x82, length >> 8, length & 255);
  return Buffer.concat([Buffer.of(tag), size, content]);
}

export function pem(label: string, bytes: Uint8Array): string {
  const body =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${body.join("\n")}\n-----END ${label}-----\n`;
}
