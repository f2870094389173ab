/** Every way in which a node may not join, each by its own code (docs/claims.md), and the group that says what can be done. Closed. */
import type { KeyRefusal } from "../endorsement/attestation-key.ts";
import type { EkCertificateRefusal } from "../endorsement/ek-certificate.ts";
import type { QuoteRefusal } from "../endorsement/verify-quote.ts";

export type EnrolmentRefusal =
  | "malformed"
  | "key"
  | "certificate"
  | "certificate-missing"
  | "not-allowed"
  | "name-taken"
  | "revoked"
  | "token"
  | "review"
  | "busy"
  | "unknown-session"
  | "expired"
  | "activation"
  | "certificate-request"
  | "nonce"
  | "quote"
  | "conflict";

const OF_KEYS = { malformed: "key", "not-fixed": "key", "not-restricted": "key", "wrong-use": "key", "wrong-algorithm": "key" } as const satisfies Record<
  KeyRefusal,
  EnrolmentRefusal
>;
const OF_CERTIFICATES = {
  "certificate-malformed": "certificate",
  "certificate-for-another-key": "certificate",
  "certificate-not-for-ek": "certificate",
  "certificate-critical-extension": "certificate",
  "certificate-expired": "certificate",
  "certificate-unknown-maker": "certificate",
} as const satisfies Record<EkCertificateRefusal, EnrolmentRefusal>;
const OF_QUOTES = {
  ...{ "attest-malformed": "quote", "signature-malformed": "quote", "pcrs-malformed": "quote", "not-a-quote": "quote" },
  ...{ "wrong-signer": "quote", "bad-signature": "quote", "wrong-binding": "quote", "wrong-pcr-selection": "quote", "wrong-pcr-values": "quote" },
  ...{ "reset-count-went-back": "quote", "restart-count-went-back": "quote", "clock-went-back": "quote" },
} as const satisfies Record<QuoteRefusal, EnrolmentRefusal>;

/** Code → group. */
export const ENROLMENT_CODES = {
  "node-name": "malformed",
  "boot-id": "malformed",
  ...prefixed("ek", OF_KEYS),
  ...prefixed("ak", OF_KEYS),
  ...OF_CERTIFICATES,
  "certificate-missing": "certificate-missing",
  "not-listed": "not-allowed",
  "id-of-another-key": "not-allowed",
  "name-taken": "name-taken",
  revoked: "revoked",
  "token-malformed": "token",
  "token-not-accepted": "token",
  "token-unknown": "token",
  "account-not-accepted": "token",
  "account-malformed": "token",
  "account-not-vouched": "token",
  "account-of-another": "token",
  "account-audience": "token",
  "account-ended": "token",
  "account-unbound": "token",
  "account-node-name": "token",
  "account-of-another-node": "token",
  "account-not-reviewed": "review",
  "reviews-busy": "busy",
  rate: "busy",
  "rate-of-address": "busy",
  "unknown-session": "unknown-session",
  expired: "expired",
  "nonce-spent": "nonce",
  "certificate-request": "certificate-request",
  activation: "activation",
  "no-quote": "quote",
  "pcr-bank": "quote",
  ...OF_QUOTES,
  "identity-changed": "conflict",
  "spent-by-another": "conflict",
  "node-in-use": "conflict",
  "renewal-with-tpm": "not-allowed",
  "renewal-by-account": "not-allowed",
} as const satisfies Record<string, EnrolmentRefusal>;
export type EnrolmentCode = keyof typeof ENROLMENT_CODES;

export interface Refused {
  readonly ok: false;
  readonly code: EnrolmentCode;
  readonly reason: EnrolmentRefusal;
  /** For the operator's log and, bounded, for the node. Holds no secret. */
  readonly detail: string;
}

export function refused(code: EnrolmentCode, detail: string): Refused {
  return { ok: false, code, reason: ENROLMENT_CODES[code], detail };
}

function prefixed<P extends string, K extends string, V>(prefix: P, table: Readonly<Record<K, V>>): Record<`${P}-${K}`, V> {
  return Object.fromEntries(Object.entries(table).map(([code, group]) => [`${prefix}-${code}`, group])) as Record<`${P}-${K}`, V>;
}
