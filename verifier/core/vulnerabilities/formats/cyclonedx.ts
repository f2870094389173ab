/** CycloneDX 1.4 to 1.7 in JSON: packages, vulnerabilities, and what their analysis says (VEX). */
import * as z from "zod";
import { ReportError } from "../errors.ts";
import { highest, scoreOf, severityOf } from "../score.ts";
import { dateMs, digestIn, few, findings, id, imageDigest, isDigest, layerOf, MAX_PACKAGES, number, packages, purl, text, words } from "../shapes.ts";
import { type Finding, type FindingSeverity, type ParsedReport, rankOf, type Statement, type StatementStatus } from "../types.ts";
import { excuses, readPurl } from "../vex.ts";

const PROPERTIES = few(z.object({ name: text(256), value: text(4096) }));
const COMPONENT = z.object({
  ...{ "bom-ref": text(1024), type: text(64), group: text(), name: text(), version: text(), purl, properties: PROPERTIES },
  // Parts of a part, of the same form.
  components: packages(z.unknown()),
});
const TOOL = z.object({ name: text(128), version: text(64) });
const RATING = z.object({ score: number(0, 100), severity: text(32), method: text(32), vector: text(), source: z.object({ name: text(128) }).nullish() });
const VULNERABILITY = z.object({
  id: id.nullish(),
  references: few(z.object({ id: text(128) })),
  ratings: few(RATING),
  recommendation: words,
  analysis: z.object({ state: text(64), justification: text(64), detail: words }).nullish(),
  affects: findings(z.object({ ref: text(1024), versions: few(z.object({ version: text(), range: text(), status: text(32) })) })),
});
const BOM = z.object({
  bomFormat: z.literal("CycloneDX"),
  specVersion: z.enum(["1.4", "1.5", "1.6", "1.7"], "specVersion: want 1.4, 1.5, 1.6 or 1.7"),
  metadata: z
    .object({
      timestamp: dateMs,
      tools: z.union([few(TOOL), z.object({ components: few(TOOL) }).transform(({ components }) => components)]).nullish(),
      component: COMPONENT.nullish(),
    })
    .nullish(),
  components: packages(COMPONENT),
  vulnerabilities: findings(VULNERABILITY),
});

/** Of all vulnerabilities together: most of them name parts again. */
const MAX_AFFECTED = 100_000;

export const isCyclonedx = (value: Readonly<Record<string, unknown>>): boolean => value["bomFormat"] === "CycloneDX";

type Component = z.output<typeof COMPONENT>;

/** @throws ZodError */
export function readCyclonedx(value: unknown): ParsedReport {
  const { metadata, components: topmost, vulnerabilities } = BOM.parse(value);
  const affected = vulnerabilities.reduce((sum, { affects }) => sum + affects.length, 0);
  if (affected > MAX_AFFECTED) throw new ReportError("TOO_LARGE", `parts are named as affected ${affected} times, limit ${MAX_AFFECTED}`);
  const components = withParts(topmost);
  const image = metadata?.component ?? undefined;
  const byRef = new Map([...(image ? [image] : []), ...components].map((component) => [component["bom-ref"], component]));
  const [tool] = metadata?.tools ?? [];
  const found = vulnerabilities.flatMap((each) => findingsOf(each, byRef));
  return {
    format: "cyclonedx",
    tool: tool ? `${tool.name} ${tool.version}`.trim() : "",
    createdAtMs: metadata?.timestamp,
    subject: subjectOf(image),
    // A list of parts names no vulnerabilities either: that there are none is nothing that a document without any says.
    isScan: found.length > 0 && vulnerabilities.some(({ analysis }) => !analysis),
    findings: found,
    statements: vulnerabilities.flatMap((each) => statementOf(each, byRef)),
    packages: components.filter((component) => component.purl !== "").length,
    leftOut: 0,
  };
}

/** @throws ZodError; ReportError TOO_LARGE */
function withParts(topmost: readonly Component[]): Component[] {
  const all = [...topmost];
  for (let at = 0; at < all.length; at++) {
    for (const part of all[at]?.components ?? []) all.push(COMPONENT.parse(part));
    if (all.length > MAX_PACKAGES) throw new ReportError("TOO_LARGE", `more than ${MAX_PACKAGES} components`);
  }
  return all;
}

function subjectOf(component: Component | undefined): ParsedReport["subject"] {
  const values = (name: string): string[] => (component?.properties ?? []).filter((property) => property.name === name).map(({ value }) => value);
  return {
    configDigest: [...values("aquasecurity:trivy:ImageID"), ...values("syft:image:id")].find(isDigest),
    manifestDigests: [
      ...new Set([...[component?.version ?? "", ...values("aquasecurity:trivy:RepoDigest")].flatMap(digestIn), ...imageDigest(component?.purl ?? "")]),
    ],
    diffIds: values("aquasecurity:trivy:DiffID").filter(isDigest),
  };
}

type Vulnerability = z.output<typeof VULNERABILITY>;
const namesOf = ({ id: name, references }: Vulnerability): string[] =>
  [...new Set([name ?? "", ...references.map((each) => each.id)])].filter((each) => each !== "");

/** One for each part; what a document of makers says of parts elsewhere is a statement only, and what a scanner says of parts that it does not list is there all the same. */
function findingsOf(found: Vulnerability, byRef: ReadonlyMap<string, Component>): Finding[] {
  const [name, ...aliases] = namesOf(found);
  if (name === undefined && found.analysis) return [];
  const [scores, others] = [found.ratings.filter(isCvss), found.ratings.filter((rating) => !isCvss(rating))];
  const cvss = highest(scores.map(({ score, vector }) => score ?? scoreOf(vector)));
  const severity = gravest(found.ratings.map((rating) => severityOf(rating.severity, undefined))) ?? severityOf("", cvss);
  const affects = found.affects.length > 0 ? found.affects : [{ ref: "", versions: [] }];
  return affects.flatMap(({ ref, versions }) => {
    const component = ref === "" ? undefined : byRef.get(ref);
    if (!component && found.analysis) return [];
    return [
      {
        ...{ id: name ?? "unnamed", aliases, cvss, severity },
        epss: highest(others.filter(({ source }) => source?.name === "FIRST").map(({ score }) => (score && score <= 1 ? score : undefined))),
        knownExploited: others.some(({ source }) => source?.name.includes("KEV")),
        package: component
          ? { name: fullName(component), version: component.version, purl: component.purl }
          : { name: ref.slice(0, 512), version: "", purl: partOf(ref) },
        fixedIn: [
          ...versions.filter(({ status }) => status === "unaffected").flatMap(({ version, range }) => fixOf(version || range)),
          ...(component ? recommended(found.recommendation, fullName(component)) : []),
        ],
        layer: component ? layerIn(component) : "",
      },
    ];
  });
}

/** undefined: none has a word for it. */
function gravest(severities: readonly FindingSeverity[]): FindingSeverity | undefined {
  return severities.filter((each) => each !== "unknown").reduce<FindingSeverity | undefined>((a, b) => (a && rankOf(a) >= rankOf(b) ? a : b), undefined);
}

const isCvss = ({ method, score, vector }: z.output<typeof RATING>): boolean => /^CVSS/i.test(method) && ((score ?? 0) <= 10 || vector !== "");

/** `1.2.3`, or the lowest of `vers:deb/>=1.2.3`. */
function fixOf(version: string): string[] {
  const range = /^vers:[^/]*\/>=([^|]+)/.exec(version);
  if (range?.[1] !== undefined) return [range[1]];
  return version === "" || version.startsWith("vers:") ? [] : [version];
}

/** As scanners' own forms call it: a scope of npm and a group of Maven are part of the name. */
function fullName({ group, name, purl: of }: Component): string {
  return group === "" || name.startsWith(group) ? name : `${group}${of.startsWith("pkg:maven/") ? ":" : "/"}${name}`;
}

/** Trivy says fixes in words: `Upgrade NAME to version VERSION, …; Upgrade …`. */
function recommended(words: string, name: string): string[] {
  const said = words.split("; ").find((each) => each.startsWith(`Upgrade ${name} to version `));
  return said === undefined
    ? []
    : said
        .slice(`Upgrade ${name} to version `.length)
        .split(/,\s*/)
        .filter((version) => version !== "");
}

function layerIn({ properties }: Component): string {
  const named = properties.filter(({ name }) => name === "aquasecurity:trivy:LayerDiffID" || /^syft:location:\d+:layerID$/.test(name));
  return named.map(({ value }) => layerOf(value)).find((layer) => layer !== "") ?? "";
}

const STATES: Readonly<Record<string, StatementStatus>> = {
  not_affected: "not_affected",
  false_positive: "not_affected",
  resolved: "fixed",
  resolved_with_pedigree: "fixed",
  exploitable: "affected",
  in_triage: "under_investigation",
};

function statementOf(found: Vulnerability, byRef: ReadonlyMap<string, Component>): Statement[] {
  const { analysis } = found;
  const status = analysis && Object.hasOwn(STATES, analysis.state) ? STATES[analysis.state] : undefined;
  const ids = namesOf(found);
  // Elsewhere: `urn:cdx:SERIAL/VERSION#REF`, of which the reference may be a package URL.
  const named = found.affects.map(({ ref, versions }) => ({ purl: byRef.get(ref)?.purl || partOf(ref), ofVersions: versions.length > 0 }));
  // Of single versions of what stands for all of them nobody is excused.
  const counts = ({ purl, ofVersions }: (typeof named)[number]): boolean =>
    purl !== "" && !(ofVersions && status && excuses({ status }) && !readPurl(purl)?.version);
  const products = named.filter(counts).map(({ purl }) => purl);
  if (!analysis || !status || ids.length === 0 || products.length === 0) return [];
  return [{ ids, status, justification: analysis.justification, detail: analysis.detail, products: products.map((purl) => ({ purl, parts: [] })) }];
}

/** The package URL that a reference is; empty: it is none. */
function partOf(ref: string): string {
  try {
    const part = ref.startsWith("urn:cdx:") ? decodeURIComponent(ref.slice(ref.indexOf("#") + 1)) : ref;
    return part.startsWith("pkg:") ? part : "";
  } catch {
    return "";
  }
}
