/** Trivy's JSON (schema version 2: pkg/types/report.go of aquasecurity/trivy). */
import * as z from "zod";
import { ReportError } from "../errors.ts";
import { highest, scoreOf, severityOf } from "../score.ts";
import { dateMs, digestIn, few, findings, id, isDigest, layerOf, number, packages, purl, some, text, words } from "../shapes.ts";
import type { Finding, ParsedReport, Statement } from "../types.ts";

const CVSS = z.object({ V2Score: number(0, 10), V3Score: number(0, 10), V40Score: number(0, 10), V3Vector: text(), V40Vector: text() });
const VULNERABILITY = z.object({
  VulnerabilityID: id,
  VendorIDs: few(text(128)),
  PkgName: text(),
  PkgIdentifier: z.object({ PURL: purl }).nullish(),
  InstalledVersion: text(),
  FixedVersion: text(1024),
  Layer: z.object({ DiffID: text() }).nullish(),
  Severity: text(32),
  CVSS: z.record(z.string().max(128), CVSS).nullish(),
});
const MODIFIED = z.object({
  Type: text(64),
  Status: text(64),
  Statement: words,
  Source: text(),
  Finding: z.unknown(),
});
const RESULT = z.object({
  Class: text(64),
  Packages: packages(z.object({})),
  Vulnerabilities: findings(VULNERABILITY),
  // What Trivy was told to leave out (--show-suppressed).
  ExperimentalModifiedFindings: findings(MODIFIED),
});
const REPORT = z.object({
  SchemaVersion: z.literal(2),
  CreatedAt: dateMs,
  ArtifactType: text(64),
  Trivy: z.object({ Version: text(64) }).nullish(),
  Metadata: z.object({ ImageID: text(), DiffIDs: some(z.string().max(256), 1024), RepoDigests: few(z.string().max(1024)) }).nullish(),
  Results: few(RESULT),
});

export const isTrivy = (value: Readonly<Record<string, unknown>>): boolean => "SchemaVersion" in value && "ArtifactName" in value;

/** What was scanned: an image, or a list of an image's parts (`trivy sbom`), which names it where Trivy made the list. */
const ARTIFACTS: ReadonlySet<string> = new Set(["container_image", "cyclonedx", "spdx"]);

/** @throws ZodError; ReportError NOT_OF_AN_IMAGE */
export function readTrivy(value: unknown): ParsedReport {
  const report = REPORT.parse(value);
  if (!ARTIFACTS.has(report.ArtifactType))
    throw new ReportError("NOT_OF_AN_IMAGE", `a report of a ${report.ArtifactType || "thing that it does not name"}, not of a container image`);
  const { ImageID = "", DiffIDs = [], RepoDigests = [] } = report.Metadata ?? {};
  const excused = report.Results.flatMap((result) => result.ExperimentalModifiedFindings).filter((each) => each.Type === "vulnerability");
  const modified = excused.map((each) => ({ ...each, Finding: VULNERABILITY.parse(each.Finding) }));
  return {
    format: "trivy",
    tool: `Trivy ${report.Trivy?.Version ?? ""}`.trim(),
    createdAtMs: report.CreatedAt,
    subject: { configDigest: isDigest(ImageID) ? ImageID : undefined, manifestDigests: RepoDigests.flatMap(digestIn), diffIds: DiffIDs.filter(isDigest) },
    isScan: true,
    // What was left out by hand is there all the same; what a statement excuses, the statement excuses.
    findings: [...report.Results.flatMap((result) => result.Vulnerabilities), ...modified.map(({ Finding }) => Finding)].map(findingOf),
    statements: modified.flatMap(({ Status, Statement: why, Finding }) => statementOf(Status, why, findingOf(Finding))),
    packages: report.Results.reduce((sum, result) => sum + result.Packages.length, 0),
    leftOut: report.Results.filter(({ Class }) => Class === "config" || Class === "secret" || Class === "license").length,
  };
}

function findingOf(found: z.output<typeof VULNERABILITY>): Finding {
  const scores = Object.values(found.CVSS ?? {}).flatMap((each) => [
    each.V3Score ?? scoreOf(each.V3Vector),
    each.V40Score ?? scoreOf(each.V40Vector),
    ...(each.V3Score === undefined && each.V40Score === undefined ? [each.V2Score] : []),
  ]);
  const cvss = highest(scores);
  return {
    id: found.VulnerabilityID,
    aliases: found.VendorIDs,
    severity: severityOf(found.Severity, cvss),
    ...{ cvss, epss: undefined, knownExploited: false },
    package: { name: found.PkgName, version: found.InstalledVersion, purl: found.PkgIdentifier?.PURL ?? "" },
    fixedIn: found.FixedVersion.split(",")
      .map((version) => version.trim())
      .filter((version) => version !== ""),
    layer: layerOf(found.Layer?.DiffID ?? ""),
  };
}

function statementOf(status: string, detail: string, finding: Finding): Statement[] {
  if ((status !== "not_affected" && status !== "fixed") || finding.package.purl === "") return [];
  // Of OpenVEX and CSAF Trivy keeps the justification alone.
  const said = /^[a-z_]{1,64}$/.test(detail) ? { justification: detail, detail: "" } : { justification: "", detail };
  return [{ ids: [finding.id, ...finding.aliases], status, ...said, products: [{ purl: finding.package.purl, parts: [] }] }];
}
