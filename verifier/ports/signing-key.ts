/** Private keys that sign where they lie. None of them ever crosses this port. */

export interface SigningKey {
  /** SubjectPublicKeyInfo, DER: ECDSA P-256 or P-384, Ed25519, or RSA of 2,048 bits or more. */
  readonly spki: Buffer;
  /** ECDSA in DER with the digest that pairs with the curve, Ed25519, or RSA PKCS#1 v1.5 with SHA-256. @throws SignerError */
  sign(message: Uint8Array): Promise<Buffer>;
}

/** `p256` and `ed25519` sign; `secret` is for {@link KeyToken.hmac}. */
export type TokenKeyKind = "p256" | "ed25519" | "secret";

/** A token (PKCS#11) that holds keys of ours. All methods reject with SignerError. */
export interface KeyToken {
  /**
   * The key that follows another of the same name: one that somebody put there beforehand under the label that is next, or a new one that never leaves the token.
   * Durable on return; after a crash the same call finds what was made.
   * @param name a-z and -; part of the label @param after what this gave for the one before it @returns an RFC 7512 URI: not secret, to be kept
   */
  make(kind: TokenKeyKind, name: string, after: string | undefined): Promise<string>;
  /** @param uri of {@link make} */
  open(uri: string): Promise<SigningKey>;
  /** HMAC-SHA-256, 32 bytes, computed in the token with a `secret`. */
  hmac(uri: string, message: Uint8Array): Promise<Buffer>;
  /** The key is gone; where it cannot be removed, somebody is told. Idempotent. */
  drop(uri: string): Promise<void>;
}
