/** Why a host could not be set up or cleared. The message says what to do; it is printed as it is. */
export type HostErrorCode =
  | "NOT_ROOT"
  | "NO_BUNDLE"
  | "NO_ENGINE"
  | "STATE_TAKEN"
  | "NOT_INSTALLED"
  | "BAD_RECORD"
  | "BAD_SETTINGS"
  | "COMMAND_FAILED"
  | "NO_PORTS"
  | "PORT_TAKEN"
  | "START_FAILED"
  | "STOP_FAILED";

export class HostError extends Error {
  readonly code: HostErrorCode;

  constructor(code: HostErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "HostError";
    this.code = code;
  }
}
