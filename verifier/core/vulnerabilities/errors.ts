/**
 * MALFORMED: no report that is understood. TOO_LARGE: beyond a bound. NOT_OF_AN_IMAGE: of a directory, a repository, a host. NO_IMAGE: neither the report nor whoever
 * imports it names the image by digest. OTHER_IMAGE: they name different ones.
 */
export type ReportErrorCode = "MALFORMED" | "TOO_LARGE" | "NOT_OF_AN_IMAGE" | "NO_IMAGE" | "OTHER_IMAGE";

export class ReportError extends Error {
  readonly code: ReportErrorCode;

  constructor(code: ReportErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ReportError";
    this.code = code;
  }
}
