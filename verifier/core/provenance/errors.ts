/** MALFORMED: not what its media type says. TOO_LARGE: over a limit of ours. DIGEST_MISMATCH: other bytes than the digest names. BAD_REFERENCE: not an image reference. BAD_KEY: an authority's key cannot be used. */
export type ProvenanceErrorCode = "MALFORMED" | "TOO_LARGE" | "DIGEST_MISMATCH" | "BAD_REFERENCE" | "BAD_KEY";

/** Something could not be read. Never a verdict: callers turn it into one where the bytes are an attacker's to choose. */
export class ProvenanceError extends Error {
  readonly code: ProvenanceErrorCode;

  constructor(code: ProvenanceErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ProvenanceError";
    this.code = code;
  }
}
