/** Why bytes could not be encoded or decoded. A closed set: callers may switch on it. */
export type CodecErrorCode =
  | "TRUNCATED"
  | "TRAILING_BYTES"
  | "WRONG_LENGTH"
  | "TOO_LONG"
  | "BAD_VERSION"
  | "BAD_TYPE"
  | "BAD_PATH"
  | "BAD_ORDER"
  | "OUT_OF_RANGE"
  | "BAD_GLOB";

/** Thrown when bytes are not a canonical encoding. Never an appraisal result: the message could not be read. */
export class CodecError extends Error {
  readonly code: CodecErrorCode;

  constructor(code: CodecErrorCode, message: string) {
    super(`${code}: ${message}`);
    this.name = "CodecError";
    this.code = code;
  }
}
