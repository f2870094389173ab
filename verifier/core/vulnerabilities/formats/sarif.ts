/**
 * SARIF 2.1.0 (OASIS), as Trivy and Grype write it. Its schema has no place for packages: they are read from the message, as these two word it.
 * Digests of the image stand in the run's properties, where the tool writes them.
 */
import * as z from "zod";
import { highest, severityOf } from "../score.ts";
import { digestIn, few, findings, isDigest, number, some, text } from "../shapes.ts";
import type { Finding, ParsedReport } from "../types.ts";

const MESSAGE = z.object({
  text: z
    .string()
    .nullish()
    .transform((value) => (value ?? "").slice(0, 4096)),
});
const RULE = z.object({
  id: text(256),
  help: MESSAGE.nullish(),
  properties: z
    .object({
      ...{ "security-severity": text(16), tags: few(z.string().max(256)) },
      ...{ cvssv2_baseScore: number(0, 10), cvssv3_baseScore: number(0, 10), cvssv40_baseScore: number(0, 10) },
    })
    .nullish(),
});
const RESULT = z.object({ ruleId: text(256), ruleIndex: z.int().min(0).max(1_000_000).nullish(), level: text(32), message: MESSAGE.nullish() });
const RUN = z.object({
  tool: z.object({ driver: z.object({ name: text(128), version: text(64), semanticVersion: text(64), rules: findings(RULE) }) }),
  results: findings(RESULT),
  properties: z.object({ imageID: text(), repoDigests: few(z.string().max(1024)) }).nullish(),
});
const REPORT = z.object({ version: z.literal("2.1.0"), runs: some(RUN, 16) });

export const isSarif = (value: Readonly<Record<string, unknown>>): boolean => "runs" in value && "version" in value;

/** Of others nobody knows that they look for vulnerabilities of packages at all. */
const SCANNERS: ReadonlySet<string> = new Set(["trivy", "grype"]);
const VULNERABILITY = /\b(?:CVE-\d{4}-\d{4,}|GHSA(?:-[0-9a-z]{4}){3}|(?:ALAS2?|DSA|DLA|ELSA|RHSA|USN|GO|PYSEC|RUSTSEC|OSV)-[0-9A-Za-z:-]{3,40})/;

/** @throws ZodError */
export function readSarif(value: unknown): ParsedReport {
  const { runs } = REPORT.parse(value);
  const [first] = runs;
  const driver = first?.tool.driver;
  const read = runs.map(findingsOf);
  const found = read.flatMap((each) => each.findings);
  const imageId = runs.map(({ properties }) => properties?.imageID ?? "").find(isDigest);
  return {
    format: "sarif",
    tool: `${driver?.name ?? ""} ${driver?.version || driver?.semanticVersion || ""}`.trim(),
    createdAtMs: undefined,
    subject: { configDigest: imageId, manifestDigests: runs.flatMap(({ properties }) => properties?.repoDigests ?? []).flatMap(digestIn), diffIds: [] },
    isScan: runs.length > 0 && runs.every(({ tool }) => SCANNERS.has(tool.driver.name.toLowerCase())),
    findings: found,
    ...{ statements: [], packages: 0 },
    leftOut: read.reduce((sum, each) => sum + each.leftOut, 0),
  };
}

function findingsOf({ tool, results }: z.output<typeof RUN>): { readonly findings: readonly Finding[]; readonly leftOut: number } {
  const byId = new Map(tool.driver.rules.map((rule) => [rule.id, rule]));
  const vulnerabilitiesOnly = tool.driver.name.toLowerCase() === "grype";
  const found = results.flatMap((result) => findingOf(result, tool.driver.rules[result.ruleIndex ?? -1] ?? byId.get(result.ruleId), vulnerabilitiesOnly));
  return { findings: found, leftOut: results.length - found.length };
}

/** @param vulnerabilitiesOnly the tool looks for nothing else */
function findingOf({ ruleId, level, message }: z.output<typeof RESULT>, rule: z.output<typeof RULE> | undefined, vulnerabilitiesOnly: boolean): Finding[] {
  const name = ruleId || (rule?.id ?? "");
  // Databases have names of their own (`TEMP-…`, `SUSE-SU-…`): one that nobody knows is none the less there.
  const meant = vulnerabilitiesOnly || rule?.properties?.tags.includes("vulnerability") === true;
  const id = VULNERABILITY.exec(name)?.[0] ?? (meant ? name.slice(0, 128) : "");
  if (id === "") return [];
  const said = `${message?.text ?? ""}\n${rule?.help?.text ?? ""}`;
  const cvss = scoreOfRule(rule, vulnerabilitiesOnly);
  const word = lineOf(said, "Severity") || (rule?.properties?.tags ?? []).find((tag) => severityOf(tag, undefined) !== "unknown") || "";
  return [
    {
      ...{ id, aliases: [], cvss, epss: undefined, knownExploited: false, layer: "" },
      severity: severityOf(word || LEVELS[level] || "", cvss),
      package: { name: lineOf(said, "Package") || grypeName(said), version: lineOf(said, "Installed Version") || lineOf(said, "Version"), purl: "" },
      fixedIn: [lineOf(said, "Fixed Version") || lineOf(said, "Fix Version")]
        .flatMap((versions) => versions.split(/\s*,\s*/))
        .filter((version) => version !== ""),
    },
  ];
}

/** What Trivy writes for a severity where no CVSS score of version 3 is there. */
const PLACEHOLDERS: ReadonlySet<string> = new Set(["9.5", "8.0", "5.5", "2.0", "0.0"]);

/** The scores themselves where Trivy has them; one that only stands for a severity is none. */
function scoreOfRule(rule: z.output<typeof RULE> | undefined, ofGrype: boolean): number | undefined {
  const properties = rule?.properties;
  if (!properties) return undefined;
  const { cvssv2_baseScore: v2, cvssv3_baseScore: v3, cvssv40_baseScore: v4, "security-severity": shown } = properties;
  const score = Number.parseFloat(shown);
  const isScore = score >= 0 && score <= 10 && (ofGrype || !PLACEHOLDERS.has(shown));
  return highest([v3, v4]) ?? v2 ?? (isScore ? score : undefined);
}

const LEVELS: Readonly<Record<string, string>> = { error: "high", warning: "medium", note: "low" };

function lineOf(said: string, name: string): string {
  const line = said.split("\n").find((each) => each.startsWith(`${name}:`));
  return line === undefined
    ? ""
    : line
        .slice(name.length + 1)
        .trim()
        .slice(0, 256);
}

/** `A high vulnerability in deb package: libssl1.1, version …` */
function grypeName(said: string): string {
  return /\bpackage: ([^\s,]{1,256}),/.exec(said)?.[1] ?? "";
}
