/** Grype's JSON (schema/grype/json of anchore/grype). */
import * as z from "zod";
import { ReportError } from "../errors.ts";
import { highest, scoreOf, severityOf } from "../score.ts";
import { dateMs, digestIn, few, findings, id, isDigest, layerOf, number, purl, some, text, words } from "../shapes.ts";
import type { Finding, ParsedReport, Statement } from "../types.ts";

const VULNERABILITY = z.object({
  id,
  severity: text(32),
  cvss: few(z.object({ vector: text(), metrics: z.object({ baseScore: number(0, 10) }).nullish() })),
  epss: few(z.object({ epss: number(0, 1) })),
  knownExploited: few(z.object({})),
  fix: z.object({ versions: few(z.string().max(256)), state: text(32) }).nullish(),
});
const MATCH = z.object({
  vulnerability: VULNERABILITY,
  relatedVulnerabilities: few(VULNERABILITY),
  artifact: z.object({ name: text(), version: text(), purl, locations: few(z.object({ layerID: text() })) }),
});
const RULE = z.object({ namespace: text(64), "vex-status": text(64), "vex-justification": text(), reason: words });
const REPORT = z.object({
  matches: findings(MATCH),
  ignoredMatches: findings(MATCH.extend({ appliedIgnoreRules: few(RULE) })),
  source: z.object({ type: text(32), target: z.unknown() }).nullish(),
  descriptor: z.object({ name: text(64), version: text(64), timestamp: dateMs }),
});
const TARGET = z.object({
  imageID: text(),
  manifestDigest: text(),
  repoDigests: few(z.string().max(1024)),
  layers: some(z.object({ digest: text() }), 1024),
});

export const isGrype = (value: Readonly<Record<string, unknown>>): boolean => "matches" in value && "descriptor" in value;

/** @throws ZodError; ReportError NOT_OF_AN_IMAGE */
export function readGrype(value: unknown): ParsedReport {
  const { matches, ignoredMatches, source, descriptor } = REPORT.parse(value);
  if (source?.type !== "image") throw new ReportError("NOT_OF_AN_IMAGE", `a report of a ${source?.type || "thing that it does not name"}, not of an image`);
  const { imageID, manifestDigest, repoDigests, layers } = TARGET.parse(source.target);
  return {
    format: "grype",
    tool: `${descriptor.name || "grype"} ${descriptor.version}`.trim(),
    createdAtMs: descriptor.timestamp,
    subject: {
      configDigest: isDigest(imageID) ? imageID : undefined,
      // Of an image that no registry has, it is the digest of a manifest that Grype made up itself: it is nobody's, and matches nothing.
      manifestDigests: [...digestIn(manifestDigest), ...repoDigests.flatMap(digestIn)],
      diffIds: layers.map(({ digest }) => digest).filter(isDigest),
    },
    isScan: true,
    findings: [...matches, ...ignoredMatches].map(findingOf),
    statements: ignoredMatches.flatMap(({ appliedIgnoreRules, ...match }) => statementsOf(appliedIgnoreRules, findingOf(match))),
    ...{ packages: 0, leftOut: 0 },
  };
}

function findingOf({ vulnerability, relatedVulnerabilities, artifact }: z.output<typeof MATCH>): Finding {
  const all = [vulnerability, ...relatedVulnerabilities];
  const cvss = highest(all.flatMap((each) => each.cvss.map(({ vector, metrics }) => metrics?.baseScore ?? scoreOf(vector))));
  return {
    id: vulnerability.id,
    aliases: [...new Set(relatedVulnerabilities.map((each) => each.id))].filter((each) => each !== vulnerability.id),
    severity: severityOf(vulnerability.severity, cvss),
    cvss,
    epss: highest(all.flatMap((each) => each.epss.map(({ epss }) => epss))),
    knownExploited: all.some((each) => each.knownExploited.length > 0),
    package: { name: artifact.name, version: artifact.version, purl: artifact.purl },
    fixedIn: vulnerability.fix?.versions ?? [],
    layer: artifact.locations.map(({ layerID }) => layerOf(layerID)).find((layer) => layer !== "") ?? "",
  };
}

/** Of rules that are no statements of makers nothing comes: what was left out by hand is there all the same. */
function statementsOf(rules: readonly z.output<typeof RULE>[], finding: Finding): Statement[] {
  return rules.flatMap((rule) => {
    const status = rule["vex-status"];
    if ((status !== "not_affected" && status !== "fixed") || finding.package.purl === "") return [];
    const said = { justification: rule["vex-justification"], detail: rule.reason };
    return [{ ids: [finding.id, ...finding.aliases], status, ...said, products: [{ purl: finding.package.purl, parts: [] }] }];
  });
}
