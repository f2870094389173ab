/** Why a test bed could not be started, used or removed. */
export type TestbedErrorCode =
  | "missing_program"
  | "needs_root"
  | "path_too_long"
  | "in_use"
  | "start_failed"
  | "no_free_subnet"
  | "cleanup_failed"
  | "command_failed";

/** A failure of the test bed itself, worded for the person who ran the command. Never a verdict about what is under test. */
export class TestbedError extends Error {
  override readonly name = "TestbedError";
  readonly code: TestbedErrorCode;

  constructor(code: TestbedErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
