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

/** KEY_MISSING, KEY_MALFORMED and KEY_PERMISSIONS need a person; SIGNER_UNAVAILABLE may pass by itself. */
export type SignerErrorCode = "KEY_MISSING" | "KEY_MALFORMED" | "KEY_PERMISSIONS" | "SIGNER_UNAVAILABLE";

export class SignerError extends Error {
  readonly code: SignerErrorCode;

  constructor(code: SignerErrorCode, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.name = "SignerError";
    this.code = code;
  }
}
