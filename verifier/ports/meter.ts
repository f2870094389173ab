/**
 * What the core tells of its work, to be counted (docs/metrics.md). Calls are cheap and never throw. Codes may come from nodes: whoever counts them
 * counts by a closed set and puts the rest together.
 */
import type { StoreCommit } from "./store.ts";

/** What became of one Evidence. `skipped`: taken unread while a full report is awaited. */
export type EvidenceResult = "accepted" | "skipped" | "replay" | "gap" | "fork" | "state-root" | "malformed" | "over-limit";

/** Seconds that nodes and workloads together were looked at, and of these, were without a passing attestation. */
export interface CoverageSeconds {
  readonly node: { readonly observed: number; readonly unattested: number };
  readonly workload: { readonly observed: number; readonly unattested: number };
}

/** What came of a question at the cluster's door. `unknown-…`: it could not be told, and the webhook's failure policy decided. */
export type AdmissionDecision = "allowed" | "warned" | "audited" | "refused" | "break-glass" | "unknown-allowed" | "unknown-refused" | "exempt";

export interface Meter {
  evidence(result: EvidenceResult): void;
  /** @param code why, where not fresh; of a `late` one the node may have chosen it */
  quote(kind: "fresh" | "late" | "refused", code: string): void;
  /** Runs one container's appraisal and measures how long it takes. Throws what `work` throws. */
  appraisal<T>(work: () => T): T;
  /** Became durable. */
  committed(commit: StoreCommit): void;
  coverage(seconds: CoverageSeconds): void;
  /** Agents said that so many losses of events were new. */
  eventsLost(count: number): void;
  dutyFailed(duty: string): void;
  /** Answered a question of the API server. */
  admission(decision: AdmissionDecision, seconds: number): void;
}
