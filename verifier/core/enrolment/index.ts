export { tokenDigest } from "./candidate.ts";
export * from "./certificate-request.ts";
export * from "./decide.ts";
export * from "./live-sessions.ts";
export * from "./peer-identity.ts";
export { DEFAULT_PENDING_LIMITS, type PendingLimits } from "./pending.ts";
export * from "./refusals.ts";
export * from "./service.ts";
export * from "./types.ts";
