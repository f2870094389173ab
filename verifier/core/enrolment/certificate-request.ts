/** PKCS#10 requests of agents: they carry a fresh key and prove that its holder made the request. The names in them mean nothing. */
import { createPublicKey } from "node:crypto";
import "reflect-metadata";
import { Pkcs10CertificateRequest } from "@peculiar/x509";

export const MAX_REQUEST_BYTES = 4096;

/** @returns the SubjectPublicKeyInfo (DER) of a P-256 key, or undefined when the request is malformed, of another kind of key, or not signed by it */
export async function readRequestKey(request: Uint8Array): Promise<Buffer | undefined> {
  if (request.length > MAX_REQUEST_BYTES) return undefined;
  try {
    const parsed = new Pkcs10CertificateRequest(new Uint8Array(request));
    const spki = Buffer.from(parsed.publicKey.rawData);
    return isP256(spki) && (await parsed.verify()) ? spki : undefined;
  } catch {
    return undefined; // not a request
  }
}

/** True for a SubjectPublicKeyInfo of a valid P-256 point in its one canonical encoding. */
export function isP256(spki: Uint8Array): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
    return key.asymmetricKeyDetails?.namedCurve === "prime256v1" && key.export({ format: "der", type: "spki" }).equals(spki);
  } catch {
    return false;
  }
}
