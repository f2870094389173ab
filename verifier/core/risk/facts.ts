/** What a risk is computed from, and how much one vulnerability weighs. */
import type { ProvenanceStatus } from "../provenance/status.ts";
import { type FindingSeverity, rankOf } from "../vulnerabilities/types.ts";

/** A vulnerability, as far as it counts here. */
export interface RiskFinding {
  readonly id: string;
  readonly severity: FindingSeverity;
  readonly epss: number | undefined;
  readonly knownExploited: boolean;
  /** A statement excuses it: it counts for nothing. */
  readonly suppressed: boolean;
  readonly package: { readonly name: string; readonly version: string };
  readonly fixedIn: readonly string[];
  readonly layer: string;
  readonly layerIndex: number;
  readonly ofBase: boolean;
}

/** What a container that runs may do; of an image that runs more than once, whatever any of them may. */
export interface Exposure {
  readonly privileged: boolean;
  /** Namespaces of the host that it shares. */
  readonly hostNamespaces: readonly string[];
  /** Capabilities beyond those that its runtime gives every container. */
  readonly capabilities: readonly string[];
  /** Directories of the node in it. */
  readonly hostMounts: readonly string[];
}

export interface RiskPlace {
  /** undefined: its node is away, and nobody knows. */
  readonly exposure: Exposure | undefined;
  /** `tpm`, `tofu` (a TPM that was pinned at first use) or `none`, of a node that is attested now; `unattested`. */
  readonly node: "tpm" | "tofu" | "none" | "unattested";
  readonly openDrifts: number;
}

export interface RiskFacts {
  readonly findings: readonly RiskFinding[];
  /** Age of the newest scan in whole days; undefined: no scan says when it was made. */
  readonly scanAgeDays: number | undefined;
  readonly scanned: boolean;
  readonly provenance: ProvenanceStatus;
  /** Where it runs; empty: nowhere. */
  readonly places: readonly RiskPlace[];
  /** Who can change it, for the remedy: the base's name, and where its source is; empty: not known. */
  readonly base: string;
  readonly source: string;
}

export const RISK_TERMS = ["vulnerabilities", "scan", "exposure", "provenance", "drift", "node"] as const;
export type RiskTermName = (typeof RISK_TERMS)[number];

export interface RiskTerm {
  readonly name: RiskTermName;
  /** 0..`max`, whole. */
  readonly figure: number;
  readonly max: number;
  /** Why, in words. */
  readonly because: string;
}

/** In thousandths, so that sums do not depend on their order. */
const WEIGHTS: Readonly<Record<number, number>> = { 1: 200, 2: 1_000, 3: 3_000, 4: 8_000, 5: 16_000 };
const KNOWN_EXPLOITED = 3;
/** Thousandths: severity, times how likely it is to be exploited, as far as the report says. */
export function weightOf({ severity, epss, knownExploited }: Pick<RiskFinding, "severity" | "epss" | "knownExploited">): number {
  const factor = knownExploited ? KNOWN_EXPLOITED : 1 + 2 * Math.min(1, Math.max(0, epss ?? 0));
  return Math.round((WEIGHTS[rankOf(severity)] ?? 0) * factor);
}
