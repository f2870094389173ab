/** Holds the private key of one signed-note identity (C2SP signed-note, type 0x01 Ed25519). The key itself never crosses this port. */
export interface NoteSigner {
  /** Key name: for the log's own key also the checkpoint's origin line. Non-empty, without spaces, `+` or control bytes. */
  readonly name: string;
  /** Verifier key, `name+hash+base64(0x01 ‖ 32-byte public key)`: public, what `hullmark log verify --key` takes. */
  readonly verifierKey: string;
  /**
   * Ed25519 signature (64 bytes) over exactly `message`.
   * @throws SignerError
   */
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/** The keys of one log over time, all of one name. */
export interface NoteSigners {
  /** Each of them signs every checkpoint: the one in use, and the one that gave way to it until it is retired. At least one. */
  readonly signing: readonly NoteSigner[];
  /** Verifier keys of those that were retired: what they signed may still be shown to this log as its own. */
  readonly past: readonly string[];
}

/**
 * SIGNER_UNAVAILABLE may pass by itself, all others need a person. KEY_…: the key in its file or token. TOKEN_URI: what names a key in a token is no such URI, or
 * says too little. TOKEN_MODULE: the PKCS#11 module cannot be loaded. TOKEN_MISSING: none of its tokens is the one. TOKEN_PIN: there is none, or it is wrong or
 * locked. TOKEN_MECHANISM: the token cannot do what this kind of key needs.
 */
export type SignerErrorCode =
  | "KEY_MISSING"
  | "KEY_MALFORMED"
  | "KEY_PERMISSIONS"
  | "KEY_AMBIGUOUS"
  | "KEY_EXTRACTABLE"
  | "TOKEN_URI"
  | "TOKEN_MODULE"
  | "TOKEN_MISSING"
  | "TOKEN_PIN"
  | "TOKEN_MECHANISM"
  | "SIGNER_UNAVAILABLE";

export class SignerError extends Error {
  readonly code: SignerErrorCode;

  constructor(code: SignerErrorCode, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.name = "SignerError";
    this.code = code;
  }
}
