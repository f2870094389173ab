/**
 * Why a session ended, or an answer could not be taken. A closed set; the wire carries it as the error's reason.
 * PROTOCOL: the agent broke the rules of the conversation. CHAIN_FORK: another Evidence is on record; start a new chain. EVIDENCE_GAP: one is missing; reconnect and resend.
 * SUPERSEDED: a newer session of the same node took over. NODE_IN_USE: another boot or key speaks as this node, and lives. REVOKED, CERTIFICATE_EXPIRED: enrol again. STORE: not durable; reconnect and resend. OVERLOADED: reconnect later.
 */
export type SessionErrorCode =
  | "PROTOCOL"
  | "MALFORMED_EVIDENCE"
  | "CHAIN_FORK"
  | "EVIDENCE_GAP"
  | "RESYNC_FAILED"
  | "SUPERSEDED"
  | "NODE_IN_USE"
  | "REVOKED"
  | "CERTIFICATE_EXPIRED"
  | "STORE"
  | "OVERLOADED"
  | "STOPPING";

export class SessionError extends Error {
  readonly code: SessionErrorCode;

  constructor(code: SessionErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "SessionError";
    this.code = code;
  }
}
