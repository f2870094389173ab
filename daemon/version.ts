/** Of this release: agent, verifier and command are released together. */
export const VERSION = "0.1.0";
