/**
 * USAGE: what was asked for makes no sense. KEY: a key file cannot be used. FILE: a file cannot be read or written. IMAGE: the image cannot be found or read.
 * IDENTITY: no certificate, log entry or timestamp was to be had. RECORD: the verifier did not record it. FETCH: nothing was to be had, or it does not verify.
 */
export type SigningErrorCode = "USAGE" | "KEY" | "FILE" | "IMAGE" | "IDENTITY" | "RECORD" | "FETCH";

/** Nothing was signed or verified. Messages hold no secret. */
export class SigningError extends Error {
  readonly code: SigningErrorCode;

  constructor(code: SigningErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "SigningError";
    this.code = code;
  }
}
