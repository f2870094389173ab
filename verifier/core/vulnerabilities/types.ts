/** What reports of scanners and statements of makers say, in one form. Whoever wrote the report chose every text in it. */

/** Ascending. What a scanner has no word for is `unknown`, and ranks as medium ({@link rankOf}). */
export const FINDING_SEVERITIES = ["negligible", "low", "medium", "high", "critical", "unknown"] as const;
export type FindingSeverity = (typeof FINDING_SEVERITIES)[number];

/** 1 negligible to 5 critical. Nobody has said how grave an unknown one is: it counts as neither harmless nor the worst. */
export function rankOf(severity: FindingSeverity): number {
  return severity === "unknown" ? 3 : FINDING_SEVERITIES.indexOf(severity) + 1;
}

export const REPORT_FORMATS = ["trivy", "grype", "sarif", "cyclonedx", "openvex", "csaf", "spdx"] as const;
export type ReportFormat = (typeof REPORT_FORMATS)[number];

export interface FoundPackage {
  readonly name: string;
  readonly version: string;
  /** Package URL; empty where the report has none. */
  readonly purl: string;
}

export interface Finding {
  /** `CVE-…`, or whatever the scanner's database calls it. */
  readonly id: string;
  /** Other names of the same. */
  readonly aliases: readonly string[];
  readonly severity: FindingSeverity;
  /** CVSS base score, the highest that the report has, 0..10; undefined: none. */
  readonly cvss: number | undefined;
  /** Probability of being exploited within 30 days (FIRST), 0..1; undefined: the report does not say. */
  readonly epss: number | undefined;
  /** In the catalogue of known exploited vulnerabilities (CISA), as the report says. */
  readonly knownExploited: boolean;
  readonly package: FoundPackage;
  /** Versions without it; empty: none that the report knows of. */
  readonly fixedIn: readonly string[];
  /** `sha256:` diff id of the layer that the package came with; empty where the report does not say. */
  readonly layer: string;
}

export const STATEMENT_STATUSES = ["not_affected", "affected", "fixed", "under_investigation"] as const;
export type StatementStatus = (typeof STATEMENT_STATUSES)[number];

/** What somebody says of a vulnerability in a product (VEX). */
export interface Statement {
  /** The vulnerability, by every name that the statement has for it. */
  readonly ids: readonly string[];
  readonly status: StatementStatus;
  /** For example `vulnerable_code_not_present`; empty where none is given. */
  readonly justification: string;
  /** In the maker's words; empty where there are none. */
  readonly detail: string;
  readonly products: readonly Product[];
}

/** What a statement is about. */
export interface Product {
  /** Package URL of an image (`pkg:oci/…@sha256:…`) or of a package. */
  readonly purl: string;
  /** Package URLs of parts of an image; empty: all of it. */
  readonly parts: readonly string[];
}

/** The image that a report says it is of. */
export interface ReportSubject {
  /** `sha256:` digest of the image's configuration; undefined: not named. */
  readonly configDigest: string | undefined;
  /** `sha256:` digests of manifests and indexes. */
  readonly manifestDigests: readonly string[];
  /** In any order; empty: not named. */
  readonly diffIds: readonly string[];
}

export interface ParsedReport {
  readonly format: ReportFormat;
  /** Name and version of what made it, as it says. */
  readonly tool: string;
  /** When it was made, as it says, Unix milliseconds; undefined: it does not say. */
  readonly createdAtMs: number | undefined;
  readonly subject: ReportSubject;
  /** It looked for vulnerabilities: that it lists none means that it found none. */
  readonly isScan: boolean;
  readonly findings: readonly Finding[];
  readonly statements: readonly Statement[];
  /** Packages that it lists; 0 where it lists none. */
  readonly packages: number;
  /** Results that are no vulnerabilities of packages, and were left out. */
  readonly leftOut: number;
}
