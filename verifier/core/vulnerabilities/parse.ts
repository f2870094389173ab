/** A report as somebody hands it in: which format it is, and what it says. Whoever hands it in controls every byte. */
import { ZodError } from "zod";
import { ReportError } from "./errors.ts";
import { isCsaf, readCsaf } from "./formats/csaf.ts";
import { isCyclonedx, readCyclonedx } from "./formats/cyclonedx.ts";
import { isGrype, readGrype } from "./formats/grype.ts";
import { isOpenvex, readOpenvex } from "./formats/openvex.ts";
import { isSarif, readSarif } from "./formats/sarif.ts";
import { isSpdx, readSpdx } from "./formats/spdx.ts";
import { isTrivy, readTrivy } from "./formats/trivy.ts";
import { readJson } from "./read-json.ts";
import { MAX_FINDINGS, MAX_STATEMENTS } from "./shapes.ts";
import { type Finding, type ParsedReport, rankOf } from "./types.ts";

const FORMATS = [
  [isCyclonedx, readCyclonedx],
  [isSpdx, readSpdx],
  [isOpenvex, readOpenvex],
  [isCsaf, readCsaf],
  [isSarif, readSarif],
  [isTrivy, readTrivy],
  [isGrype, readGrype],
] as const;

/** @throws ReportError MALFORMED, TOO_LARGE, NOT_OF_AN_IMAGE */
export function parseReport(bytes: Uint8Array): ParsedReport {
  return readReport(readJson(bytes));
}

/** The same of JSON that was read and bounded already. @throws ReportError MALFORMED, TOO_LARGE, NOT_OF_AN_IMAGE */
export function readReport(value: unknown): ParsedReport {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new ReportError("MALFORMED", "not a JSON object");
  const object = value as Readonly<Record<string, unknown>>;
  const format = FORMATS.find(([is]) => is(object));
  if (!format) throw new ReportError("MALFORMED", "neither Trivy nor Grype JSON, SARIF, CycloneDX, OpenVEX, CSAF nor SPDX");
  try {
    const report = format[1](object);
    const findings = distinct(report.findings);
    if (findings.length > MAX_FINDINGS) throw new ReportError("TOO_LARGE", `${findings.length} findings, limit ${MAX_FINDINGS}`);
    if (report.statements.length > MAX_STATEMENTS) throw new ReportError("TOO_LARGE", `${report.statements.length} statements, limit ${MAX_STATEMENTS}`);
    return { ...report, findings };
  } catch (error) {
    if (!(error instanceof ZodError)) throw error;
    const [issue] = error.issues;
    throw new ReportError("MALFORMED", `${issue?.path.map(String).join(".") ?? ""}: ${issue?.message ?? "not as the format has it"}`, { cause: error });
  }
}

/** The same vulnerability in the same package of the same layer once: the graver of two that differ. */
function distinct(findings: readonly Finding[]): Finding[] {
  const byKey = new Map<string, Finding>();
  for (const finding of findings) {
    const key = JSON.stringify([finding.id, finding.package.purl || finding.package.name, finding.package.version, finding.layer]);
    const known = byKey.get(key);
    byKey.set(key, known ? graver(known, finding) : finding);
  }
  return [...byKey.values()];
}

function graver(a: Finding, b: Finding): Finding {
  const more = (x: number | undefined, y: number | undefined) => (x === undefined ? y : y === undefined ? x : Math.max(x, y));
  const [first, other] = rankOf(a.severity) >= rankOf(b.severity) ? [a, b] : [b, a];
  return {
    ...first,
    aliases: [...new Set([...first.aliases, ...other.aliases])],
    ...{ cvss: more(a.cvss, b.cvss), epss: more(a.epss, b.epss), knownExploited: a.knownExploited || b.knownExploited },
    fixedIn: first.fixedIn.length > 0 ? first.fixedIn : other.fixedIn,
  };
}
