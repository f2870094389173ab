/** Closed sets of label values: nothing that a node or a workload chooses becomes one. */
import { type Severity, Verdict } from "@hullmark/proto/v1/common";
import { ProvenanceStatus } from "@hullmark/proto/v1/query";
import type { QuoteRefusal } from "../../core/endorsement/verify-quote.ts";
import { SEVERITY_NAMES } from "../../core/fleet/alert-planner.ts";
import { ALL_KINDS } from "../../core/policy/kinds.ts";

/** Label → enum values that count as it. */
type Groups = Readonly<Record<string, readonly number[]>>;

export const VERDICTS: Groups = {
  affirming: [Verdict.AFFIRMING],
  warning: [Verdict.WARNING],
  contraindicated: [Verdict.CONTRAINDICATED],
  unknown: [Verdict.UNKNOWN, Verdict.UNSPECIFIED],
};
export const SIGNATURES: Groups = {
  signed: [ProvenanceStatus.SIGNED],
  unsigned: [ProvenanceStatus.UNSIGNED, ProvenanceStatus.ATTESTATION_ONLY],
  bad: [ProvenanceStatus.WRONG_KEY, ProvenanceStatus.OTHER_DIGEST, ProvenanceStatus.MOVED_TAG, ProvenanceStatus.MALFORMED],
  unknown: [ProvenanceStatus.UNKNOWN, ProvenanceStatus.UNSPECIFIED],
};
export const IMAGE_STATES = ["ready", "resolving", "no-reference", "unextractable", "registry-unreachable"] as const;

const KINDS: ReadonlySet<string> = new Set(ALL_KINDS);
/** A refusal that is added to core/endorsement does not compile before it is here. */
const REFUSALS: Readonly<Record<QuoteRefusal, true>> = {
  ...{ "attest-malformed": true, "signature-malformed": true, "pcrs-malformed": true, "not-a-quote": true, "wrong-signer": true, "bad-signature": true },
  ...{ "wrong-binding": true, "wrong-pcr-selection": true, "wrong-pcr-values": true },
  ...{ "reset-count-went-back": true, "restart-count-went-back": true, "clock-went-back": true },
};
const OF_FRESHNESS = [
  "nonce",
  "nonce-malformed",
  "nonce-spent",
  "pcr-bank",
  "expired",
  "too-old",
  "evidence-digest",
  "state-root",
  "policy-pending",
  "stale",
  "superseded",
  "no-key",
];
/** Why a quote did not count. docs/claims.md lists them. */
export const QUOTE_REASONS: ReadonlySet<string> = new Set([...Object.keys(REFUSALS), ...OF_FRESHNESS]);

export function kindLabel(kind: string): string {
  return KINDS.has(kind) ? kind : "other";
}

/** A late quote's reason is the agent's own word where its TPM failed. */
export function quoteReasonLabel(code: string): string {
  return QUOTE_REASONS.has(code) ? code : "other";
}

export function severityLabel(severity: Severity): string {
  return SEVERITY_NAMES[severity] ?? "info";
}
