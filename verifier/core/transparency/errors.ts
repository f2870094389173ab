/**
 * Why something of a log could not be read or built. A closed set.
 * BAD_*: the bytes are not in the format. OUT_OF_RANGE: an argument of the caller. MISSING: the reader does not have it.
 * INCONSISTENT: what is stored contradicts itself. UNKNOWN_KEY: no signature by a given key. BAD_SIGNATURE: a signature by a given key that does not hold.
 */
export type TransparencyErrorCode =
  | "BAD_NOTE"
  | "BAD_KEY"
  | "BAD_CHECKPOINT"
  | "BAD_BUNDLE"
  | "BAD_ENTRY"
  | "BAD_PROOF"
  | "BAD_TILE_PATH"
  | "BAD_SIGNATURE"
  | "UNKNOWN_KEY"
  | "OUT_OF_RANGE"
  | "MISSING"
  | "INCONSISTENT";

/** Thrown by every function of this module. For a proof it means: not proven. */
export class TransparencyError extends Error {
  readonly code: TransparencyErrorCode;

  constructor(code: TransparencyErrorCode, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.name = "TransparencyError";
    this.code = code;
  }
}
