/** The cryptography and the containers of signatures. Synchronous and pure: no network, no clock, no transparency log. All bytes may be an attacker's. */

/** A public key that is ready to use. Its kind is the adapter's own. */
export interface VerifyingKey {
  /** base64(SHA-256(SubjectPublicKeyInfo DER)): what sigstore bundles carry as a hint. */
  readonly id: string;
}

/** A DSSE envelope (secure-systems-lab/dsse, envelope.md), its base64 decoded strictly. */
export interface SignedEnvelope {
  readonly payloadType: string;
  readonly payload: Buffer;
  /** 1..8. */
  readonly signatures: readonly Buffer[];
  /** Who the envelope says has signed; decides nothing. */
  readonly keyHint: string | undefined;
  /** Signed with a certificate rather than a bare key. */
  readonly certificate: boolean;
}

/** FORMAT: not a bundle, envelope or signature of a kind that is known. KEY: not a public key of an allowed kind. */
export class SignatureFormatError extends Error {
  readonly code: "FORMAT" | "KEY";

  constructor(code: "FORMAT" | "KEY", message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "SignatureFormatError";
    this.code = code;
  }
}

export interface SignatureVerifier {
  /** SubjectPublicKeyInfo in PEM: ECDSA P-256 or P-384, Ed25519, RSA of 2,048 bits or more. @throws SignatureFormatError KEY */
  key(publicKeyPem: string): VerifyingKey;
  /** A sigstore bundle v0.1 to v0.3 in JSON that holds an envelope. @throws SignatureFormatError FORMAT */
  readBundle(bytes: Uint8Array): SignedEnvelope;
  /** A bare envelope in JSON. @throws SignatureFormatError FORMAT */
  readEnvelope(bytes: Uint8Array): SignedEnvelope;
  /** Whether one of the envelope's signatures over its payload and type is by `key`. False for anything that does not verify. */
  verifyEnvelope(envelope: SignedEnvelope, key: VerifyingKey): boolean;
  /** Whether `signature` over `message` is by `key`. */
  verifyMessage(message: Uint8Array, signature: Uint8Array, key: VerifyingKey): boolean;
}
