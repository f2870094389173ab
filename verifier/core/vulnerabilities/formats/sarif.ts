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

type Rule = z.output<typeof RULE>;

/** What a rule says to each of its results: read once, however many those are. */
interface OfRule {
  readonly said: Said;
  /** A severity among its tags; empty: none. */
  readonly tag: string;
  readonly isVulnerability: boolean;
  readonly cvss: number | undefined;
}

function findingsOf({ tool, results }: z.output<typeof RUN>): { readonly findings: readonly Finding[]; readonly leftOut: number } {
  const { name, rules } = tool.driver;
  const ofGrype = name.toLowerCase() === "grype";
  const byId = new Map(rules.map((rule) => [rule.id, rule]));
  const read = new Map(rules.map((rule) => [rule, ofRule(rule, ofGrype)]));
  const found = results.flatMap((result) => {
    const rule = rules[result.ruleIndex ?? -1] ?? byId.get(result.ruleId);
    return findingOf(result, rule?.id ?? "", (rule && read.get(rule)) ?? NOTHING_SAID);
  });
  return { findings: found, leftOut: results.length - found.length };

  function findingOf({ ruleId, level, message }: z.output<typeof RESULT>, rule: string, { said: help, tag, isVulnerability, cvss }: OfRule): Finding[] {
    const called = ruleId || rule;
    // Databases have names of their own (`TEMP-…`, `SUSE-SU-…`): one that nobody knows is none the less there.
    const id = VULNERABILITY.exec(called)?.[0] ?? (ofGrype || isVulnerability ? called.slice(0, 128) : "");
    if (id === "") return [];
    const own = saidIn(message?.text ?? "");
    const line = (...names: readonly Line[]): string =>
      names.map((each) => own.lines.get(each) ?? help.lines.get(each) ?? "").find((each) => each !== "") ?? "";
    return [
      {
        ...{ id, aliases: [], cvss, epss: undefined, knownExploited: false, layer: "" },
        severity: severityOf(line("Severity") || tag || LEVELS[level] || "", cvss),
        package: { name: line("Package") || own.name || help.name, version: line("Installed Version", "Version"), purl: "" },
        fixedIn: line("Fixed Version", "Fix Version")
          .split(/\s*,\s*/)
          .filter((version) => version !== ""),
      },
    ];
  }
}

function ofRule(rule: Rule, ofGrype: boolean): OfRule {
  const tags = rule.properties?.tags ?? [];
  return {
    said: saidIn(rule.help?.text ?? ""),
    tag: tags.find((each) => severityOf(each, undefined) !== "unknown") ?? "",
    isVulnerability: tags.includes("vulnerability"),
    cvss: scoreOfRule(rule, ofGrype),
  };
}

/** What Trivy writes for a severity where no CVSS score of version 3 is there. */
const PLACEHOLDERS: ReadonlySet<string> = new Set(["9.5", "8.0", "5.5", "2.0", "0.0"]);

/** The scores themselves where Trivy has them; one that only stands for a severity is none. */
function scoreOfRule({ properties }: Rule, ofGrype: boolean): number | undefined {
  if (!properties) return undefined;
  const { cvssv2_baseScore: v2, cvssv3_baseScore: v3, cvssv40_baseScore: v4, "security-severity": shown } = properties;
  const score = Number.parseFloat(shown);
  const isScore = score >= 0 && score <= 10 && (ofGrype || !PLACEHOLDERS.has(shown));
  return highest([v3, v4]) ?? v2 ?? (isScore ? score : undefined);
}

const LEVELS: Readonly<Record<string, string>> = { error: "high", warning: "medium", note: "low" };

type Line = "Severity" | "Package" | "Installed Version" | "Version" | "Fixed Version" | "Fix Version";

interface Said {
  /** Of each name the first. */
  readonly lines: ReadonlyMap<string, string>;
  /** `A high vulnerability in deb package: libssl1.1, version …`; empty: not so worded. */
  readonly name: string;
}

function saidIn(words: string): Said {
  const lines = new Map<string, string>();
  for (const [, name = "", value = ""] of words.matchAll(/^(Severity|Package|Installed Version|Version|Fixed Version|Fix Version):(.*)$/gm))
    if (!lines.has(name)) lines.set(name, value.trim().slice(0, 256));
  return { lines, name: /\bpackage: ([^\s,]{1,256}),/.exec(words)?.[1] ?? "" };
}

const NOTHING_SAID: OfRule = { said: saidIn(""), tag: "", isVulnerability: false, cvss: undefined };
