/** What a token says of a public key, as a key of Node's. The token's module made it: held to be honest, not to be free of mistakes. */
import { createPublicKey, type KeyObject } from "node:crypto";
import { SignerError } from "../../ports/signer.ts";
import type { PublicAttributes } from "./keys.ts";

interface Curve {
  readonly kty: "EC" | "OKP";
  readonly crv: string;
  /** Of a coordinate, or of the whole point where it has one alone. */
  readonly bytes: number;
}

/** By CKA_EC_PARAMS, DER in hex: an OID, or a PrintableString as PKCS#11 v3.0 has it too. */
const CURVES: Readonly<Record<string, Curve>> = {
  "06082a8648ce3d030107": { kty: "EC", crv: "P-256", bytes: 32 },
  "06052b81040022": { kty: "EC", crv: "P-384", bytes: 48 },
  "06032b6570": { kty: "OKP", crv: "Ed25519", bytes: 32 },
  "130c656477617264733235353139": { kty: "OKP", crv: "Ed25519", bytes: 32 },
};

/** @param what the key, in an error @throws SignerError KEY_MALFORMED */
export function publicKeyOf(found: PublicAttributes, what: string): KeyObject {
  try {
    const jwk = found.kind === "rsa" ? { kty: "RSA", n: withoutZeros(found.modulus), e: withoutZeros(found.exponent) } : pointOf(found);
    if (jwk) return createPublicKey({ key: jwk, format: "jwk" });
  } catch {
    // Refused below: OpenSSL's reason tells nobody more.
  }
  throw new SignerError("KEY_MALFORMED", `${what}: want ECDSA P-256 or P-384, Ed25519, or RSA of 2,048 bits or more`);
}

function pointOf({ parameters, point }: Extract<PublicAttributes, { kind: "ec" }>): { kty: string; crv: string; x: string; y?: string } | undefined {
  const curve = CURVES[Buffer.from(parameters).toString("hex")];
  if (!curve) return undefined;
  const { kty, crv, bytes } = curve;
  const length = kty === "EC" ? 1 + 2 * bytes : bytes;
  // An OCTET STRING around the point (v2.40), or the point alone (v3.0).
  const bare = point.length === length + 2 && point[0] === 0x04 && point[1] === length ? point.subarray(2) : point;
  if (bare.length !== length || (kty === "EC" && bare[0] !== 0x04)) return undefined;
  if (kty === "OKP") return { kty, crv, x: base64url(bare) };
  return { kty, crv, x: base64url(bare.subarray(1, 1 + bytes)), y: base64url(bare.subarray(1 + bytes)) };
}

function withoutZeros(number: Uint8Array): string {
  const first = number.findIndex((byte) => byte !== 0);
  return base64url(number.subarray(Math.max(first, 0)));
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64url");
}
