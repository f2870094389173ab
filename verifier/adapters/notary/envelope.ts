/** What both envelope formats say, in one shape (Notary Project, signature-specification.md, "Signature envelope"). Everything in it is unverified. */
import { SignatureFormatError } from "../../ports/signature-verifier.ts";

export const PAYLOAD_TYPE = "application/vnd.cncf.notary.payload.v1+json";
export const SCHEME_CA = "notary.x509";
export const SCHEME_AUTHORITY = "notary.x509.signingAuthority";

export const HEADER = {
  scheme: "io.cncf.notary.signingScheme",
  signingTime: "io.cncf.notary.signingTime",
  authenticTime: "io.cncf.notary.authenticSigningTime",
  expiry: "io.cncf.notary.expiry",
  timestamp: "io.cncf.notary.timestampSignature",
} as const;

/** Names of the algorithms as JWS has them (RFC 7518). */
export type Algorithm = "ES256" | "ES384" | "ES512" | "PS256" | "PS384" | "PS512";

export interface OpenEnvelope {
  readonly payload: Buffer;
  readonly contentType: string;
  readonly algorithm: string;
  /** Names that are marked critical. */
  readonly critical: readonly string[];
  /** Protected names that are there, without those of the format itself. */
  readonly attributes: readonly string[];
  readonly scheme: string;
  /** Unix milliseconds; undefined: absent. */
  readonly authenticTimeMs: number | undefined;
  readonly expiryMs: number | undefined;
  /** The bytes that are signed. */
  readonly signed: Buffer;
  readonly signature: Buffer;
  /** DER, leaf first. */
  readonly chain: readonly Buffer[];
  /** DER of an RFC 3161 TimeStampToken. */
  readonly timestampToken: Buffer | undefined;
}

export const MAX_CHAIN = 16;
export const MAX_SIGNATURE_BYTES = 2048;

export function malformed(what: string, cause?: unknown): SignatureFormatError {
  return new SignatureFormatError("FORMAT", what, { cause });
}
