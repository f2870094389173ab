export { SessionError, type SessionErrorCode } from "./errors.ts";
export { measurementPolicy } from "./measurement.ts";
export type { QuoteAuthority, QuoteFacts, QuoteOutcome } from "./quotes.ts";
export type { Session } from "./session.ts";
export { Sessions, type SessionsServices } from "./sessions.ts";
export { type ChangedContainer, type ChangedFinding, type JudgedImage, type Said, type Simulation, simulatePolicy } from "./simulate.ts";
export type { AttestResponseInit, SessionPeer, Transport } from "./stream.ts";
