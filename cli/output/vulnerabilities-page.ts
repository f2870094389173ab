/** Vulnerabilities for people, and as data. */
import type { GetVulnerabilitiesResponse, ImageVulnerabilities, Vulnerability, VulnerabilityReport, VulnerablePlace } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { table } from "./table.ts";
import { age, isoTime, toMs, trustWord, verdictWord } from "./words.ts";

const MAX_ROWS = 100;

export function listHeaders(wide: boolean): string[] {
  return [
    "IMAGE",
    "RISK",
    "CRIT",
    "HIGH",
    "MED",
    "LOW",
    "OTHER",
    "EXPLOITED",
    "EXCUSED",
    "CONTAINERS",
    "SCANNED",
    "NOT KNOWN",
    ...(wide ? ["CONFIG", "BASE"] : []),
  ];
}

export function listRow(image: ImageVulnerabilities, wide: boolean, nowMs: number): string[] {
  const { critical, high, medium, low, negligible, unknown, suppressed, knownExploited } = countsOf(image);
  const none = !isScanned(image) && image.reports.length === 0;
  const cells = [critical, high, medium, low, negligible + unknown, knownExploited, suppressed].map((count) => (none ? "?" : String(count)));
  return [
    ...[nameOf(image), String(image.risk?.score ?? "?"), ...cells, String(image.containers), scanAge(image, nowMs)],
    image.unknowns.map(({ code }) => printable(code, 40)).join(", ") || "-",
    ...(wide ? [image.configDigest, printable(image.base, 80) || "-"] : []),
  ];
}

export function vulnerabilitiesPage({ image, vulnerabilities, moreVulnerabilities, places }: GetVulnerabilitiesResponse, wide: boolean, nowMs: number): string {
  if (!image) return "";
  const { critical, high, medium, low, negligible, unknown, suppressed, fixable } = countsOf(image);
  const lines = [
    `Image    ${nameOf(image)} (${image.configDigest})`,
    `Found    ${critical} critical, ${high} high, ${medium} medium, ${low} low, ${negligible} negligible, ${unknown} of unknown gravity; ${fixable} with a fix; ${suppressed} excused`,
    ...image.reports.map((report) => `By       ${reportLine(report, nowMs)}`),
    ...image.unknowns.map(({ detail }) => `Unknown  ${printable(detail, 200)}`),
    image.baseLayers > 0
      ? `Base     the lowest ${image.baseLayers} layers are of ${printable(image.base, 120)}`
      : "Base     not known: no image that runs, nor policy, names it",
    ...runsLines(places, image.containers),
    ...riskLines(image.risk),
  ];
  const shown = wide ? vulnerabilities : vulnerabilities.slice(0, MAX_ROWS);
  const more = vulnerabilities.length - shown.length + moreVulnerabilities;
  const rows = shown.map((each) => vulnerabilityRow(each, wide));
  const body =
    rows.length === 0
      ? ""
      : `\n${table(["VULNERABILITY", "SEV", "PACKAGE", "VERSION", "FIXED IN", "LAYER", "STATE", ...(wide ? ["CVSS", "EPSS", "DIFF ID", "MADE BY", "REPORTS"] : [])], rows)}`;
  return `${lines.join("\n")}\n${body}${more > 0 ? `${more} more: -o wide or -o json\n` : ""}`;
}

function reportLine({ tool, format, createdAt, importedBy, importedAt, digest, scan, authorities }: VulnerabilityReport, nowMs: number): string {
  const made = createdAt ? `made ${age(createdAt, nowMs)} ago` : "made at a time that it does not say";
  const whose =
    importedBy === "" ? `signed by ${printable(authorities.join(", "), 100)}` : `imported by ${printable(importedBy, 64)} ${age(importedAt, nowMs)} ago`;
  const what = scan ? "" : `, ${format}, no scan`;
  return `${printable(tool || format, 60)}${what}, ${made}, ${whose} (${digest})`;
}

function runsLines(places: readonly VulnerablePlace[], containers: number): string[] {
  if (containers === 0) return ["Runs     nowhere now"];
  const byNode = new Map<string, VulnerablePlace[]>();
  for (const place of places) byNode.set(place.nodeName, [...(byNode.get(place.nodeName) ?? []), place]);
  const lines = [...byNode].slice(0, 20).map(([node, there]) => {
    const [first] = there;
    const trust = first?.nodeAttested ? `node attested, trust ${trustWord(first.nodeTrust)}` : "node not attested";
    const names = [...new Set(there.map(({ workload, containerName }) => printable(workload || containerName, 60)))].slice(0, 5);
    return `Runs     ${printable(node, 60)} (${trust}): ${there.length} of ${names.join(", ")}`;
  });
  const rest = byNode.size - lines.length;
  return [
    ...lines,
    ...(rest > 0 ? [`Runs     on ${rest} more nodes`] : []),
    ...(containers > places.length ? [`Runs     ${containers} containers in all`] : []),
  ];
}

function riskLines(risk: ImageVulnerabilities["risk"]): string[] {
  if (!risk) return [];
  const terms = risk.terms.map(
    ({ name, figure, max, because }) =>
      `         ${String(figure).padStart(2)} of ${String(max).padEnd(2)}  ${printable(name, 20).padEnd(15)}  ${printable(because, 300)}`,
  );
  return [`Risk     ${risk.score} of 100`, ...terms, ...(risk.remedy ? [`Do       ${printable(risk.remedy, 500)}`] : [])];
}

function vulnerabilityRow(found: Vulnerability, wide: boolean): string[] {
  const layer = found.layerIndex < 0 ? "?" : `${found.layerIndex}${found.ofBase ? " (base)" : ""}`;
  const digests = found.reports.map((digest) => digest.slice(7, 15)).join(", ");
  return [
    ...[
      printable(found.id, 40),
      found.severity,
      printable(found.package, 60),
      printable(found.version, 40),
      printable(found.fixedIn.join(", "), 60) || "-",
      layer,
    ],
    stateOf(found),
    ...(wide ? [found.cvss?.toFixed(1) ?? "-", found.epss?.toFixed(3) ?? "-", found.diffId || "-", printable(found.history, 60) || "-", digests] : []),
  ];
}

function stateOf({ suppressed, statement, knownExploited }: Vulnerability): string {
  const said = statement
    ? `${statement.status.replaceAll("_", " ")}${statement.justification ? ` (${printable(statement.justification.replaceAll("_", " "), 60)})` : ""}`
    : "";
  if (suppressed) return said;
  return [...(knownExploited ? ["exploited"] : []), ...(said ? [said] : [])].join("; ") || "open";
}

function nameOf({ references, configDigest }: ImageVulnerabilities): string {
  return printable(references.find((reference) => !reference.startsWith("sha256:")) ?? configDigest, 80);
}

function scanAge({ reports }: ImageVulnerabilities, nowMs: number): string {
  const newest = reports.filter(({ scan }) => scan).sort((a, b) => (toMs(b.createdAt) ?? 0) - (toMs(a.createdAt) ?? 0))[0];
  if (!newest) return "never";
  return newest.createdAt ? age(newest.createdAt, nowMs) : "?";
}

const isScanned = ({ reports }: ImageVulnerabilities): boolean => reports.some(({ scan }) => scan);

function countsOf({ counts }: ImageVulnerabilities) {
  const { critical = 0, high = 0, medium = 0, low = 0, negligible = 0, unknown = 0, suppressed = 0, fixable = 0, knownExploited = 0 } = counts ?? {};
  return { critical, high, medium, low, negligible, unknown, suppressed, fixable, knownExploited };
}

export function imageSummaryView(image: ImageVulnerabilities) {
  const { configDigest, references, reports, unknowns, containers, baseLayers, base } = image;
  const { critical, high, medium, low, negligible, unknown, ...rest } = countsOf(image);
  return {
    ...{ configDigest, references, containers, baseLayers, base, scanned: isScanned(image) },
    open: critical + high + medium + low + negligible + unknown,
    counts: { critical, high, medium, low, negligible, unknown, ...rest },
    reports: reports.map(({ digest, format, tool, scan, findings, statements, packages, importedBy, authorities, createdAt, importedAt }) => ({
      ...{
        digest,
        format,
        tool,
        scan,
        findings,
        statements,
        packages,
        importedBy,
        authorities,
        createdAt: isoTime(createdAt),
        importedAt: isoTime(importedAt),
      },
    })),
    risk: image.risk
      ? {
          score: image.risk.score,
          terms: image.risk.terms.map(({ name, figure, max, because }) => ({ name, figure, max, because })),
          remedy: image.risk.remedy,
        }
      : null,
    unknowns: unknowns.map(({ code, detail }) => ({ code, detail })),
  };
}

export function vulnerabilitiesView({ image, vulnerabilities, moreVulnerabilities, places }: GetVulnerabilitiesResponse) {
  const found = vulnerabilities.map(({ $typeName: _, $unknown: __, statement, cvss, epss, ...rest }) => ({
    ...{ ...rest, cvss: cvss ?? null, epss: epss ?? null },
    statement: statement ? { status: statement.status, justification: statement.justification, detail: statement.detail, report: statement.report } : null,
  }));
  const where = places.map(({ nodeName, nodeTrust, nodeAttested, containerId, containerName, workload, verdict }) => ({
    ...{ nodeName, nodeTrust: trustWord(nodeTrust), nodeAttested, containerId, containerName, workload, verdict: verdictWord(verdict) },
  }));
  const summary = image ? imageSummaryView(image) : { open: 0, scanned: false };
  return { ...summary, vulnerabilities: found, moreVulnerabilities, places: where };
}
