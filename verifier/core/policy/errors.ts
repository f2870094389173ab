export type PolicyErrorCode = "BAD_GLOB";

/** A caller's mistake. What is wrong with a policy file is data (`PolicyProblem`), not an exception. */
export class PolicyError extends Error {
  readonly code: PolicyErrorCode;

  constructor(code: PolicyErrorCode, message: string) {
    super(`${code}: ${message}`);
    this.name = "PolicyError";
    this.code = code;
  }
}
