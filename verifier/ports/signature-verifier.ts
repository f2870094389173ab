/** The cryptography and the containers of signatures. Synchronous and pure: no network, no clock. All bytes may be an attacker's. */

/** A public key that is ready to use. Its kind is the adapter's own. */
export interface VerifyingKey {
  /** base64(SHA-256(SubjectPublicKeyInfo DER)): what sigstore bundles carry as a hint. */
  readonly id: string;
}

/** Certificate authorities, logs and timestamp authorities that are ready to use. */
export interface VerifyingRoot {
  /** SHA-256 of what it was made of, hex. */
  readonly id: string;
}

/** What somebody signed, opened and not yet verified. base64 is decoded strictly. */
export interface SignedObject {
  readonly payload: Buffer;
  /** DSSE payload type; undefined: the payload itself was signed, without a type (cosign's simple signing). */
  readonly payloadType: string | undefined;
  /** Who the envelope says has signed; decides nothing. */
  readonly keyHint: string | undefined;
  /** Comes with a certificate: by whom is to be learnt from that rather than from a given key. */
  readonly certificate: boolean;
  /** The adapter's own. */
  readonly material: unknown;
}

/** What cosign's older scheme says beside a signature in annotations; absent ones undefined. */
export interface CosignAnnotations {
  /** PEM. */
  readonly certificate: string | undefined;
  /** JSON with the log's promise (SET). */
  readonly rekorBundle: string | undefined;
  /** JSON with an RFC 3161 timestamp. */
  readonly timestamp: string | undefined;
}

/** FORMAT: not a bundle, envelope or signature of a kind that is known. KEY: not a public key of an allowed kind, or not a trust root. */
export class SignatureFormatError extends Error {
  readonly code: "FORMAT" | "KEY";

  constructor(code: "FORMAT" | "KEY", message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "SignatureFormatError";
    this.code = code;
  }
}

/**
 * From the least to the most that held before it failed. `malformed`: cannot be read. `time-missing`: nothing proves when it was signed. `time`: a timestamp does not
 * hold. `certificate`: not issued by the root's authorities, or not valid when it was used. `certificate-log`: no certificate log of the root promised to hold it.
 * `log-missing`: no entry of a transparency log. `log-promise`, `log-proof`: an entry's promise or inclusion proof does not hold. `log-content`: the entry is about
 * something else. `signature`: by another key than the certificate's, or altered. `usage`: not a certificate for signing code. `identity`: does not name exactly one.
 */
export const CERTIFICATE_PROBLEMS = [
  "malformed",
  "time-missing",
  "time",
  "certificate",
  "certificate-log",
  "log-missing",
  "log-promise",
  "log-proof",
  "log-content",
  "signature",
  "usage",
  "identity",
] as const;
export type CertificateProblem = (typeof CERTIFICATE_PROBLEMS)[number];

/** Who signed, as a certificate authority vouches. */
export interface CertifiedSigner {
  /** OpenID issuer; empty where the certificate names none. */
  readonly issuer: string;
  /** The one subject alternative name: a URI or an e-mail address. */
  readonly subject: string;
  /** base64(SHA-256(SubjectPublicKeyInfo DER)) of the certificate's key. */
  readonly keyId: string;
  /** Fulcio's further extensions by name. */
  readonly extensions: Readonly<Record<string, string>>;
  /** The earliest proven time at which the signature existed, Unix milliseconds. */
  readonly signedAtMs: number;
}

export type CertificateVerdict =
  | { readonly ok: true; readonly signer: CertifiedSigner }
  | { readonly ok: false; readonly problem: CertificateProblem; readonly detail: string };

export interface RootRequirements {
  /** A transparency log of the root must prove that it holds the signature. */
  readonly log: boolean;
  /** A certificate log of the root must have promised to hold the certificate. */
  readonly sct: boolean;
}

export interface SignatureVerifier {
  /** SubjectPublicKeyInfo in PEM: ECDSA P-256 or P-384, Ed25519, RSA of 2,048 bits or more. @throws SignatureFormatError KEY */
  key(publicKeyPem: string): VerifyingKey;
  /** A sigstore `trusted_root.json`. @throws SignatureFormatError KEY */
  trustRoot(json: string): VerifyingRoot;
  /** A sigstore bundle v0.1 to v0.3 in JSON that holds an envelope. @throws SignatureFormatError FORMAT */
  readBundle(bytes: Uint8Array): SignedObject;
  /** A bare envelope in JSON. @throws SignatureFormatError FORMAT */
  readEnvelope(bytes: Uint8Array, annotations?: CosignAnnotations): SignedObject;
  /** A payload with its signature beside it. @param signature base64 @throws SignatureFormatError FORMAT */
  readMessage(payload: Uint8Array, signature: string, annotations?: CosignAnnotations): SignedObject;
  /** Whether one of its signatures over payload and type is by `key`. False for anything that does not verify. No log or timestamp is looked at. */
  verifyByKey(signed: SignedObject, key: VerifyingKey): boolean;
  /** Who signed it by the certificate that comes with it. Every timestamp and log entry that comes with it must hold, required or not. */
  verifyByCertificate(signed: SignedObject, root: VerifyingRoot, requirements: RootRequirements): CertificateVerdict;
}
