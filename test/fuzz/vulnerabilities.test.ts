/**
 * Reports on vulnerabilities, and the statements (VEX) beside them, under bytes near valid ones. A reader may refuse by its own error, never otherwise; what it takes stays within bounds;
 * and no statement makes a finding go away that it does not excuse. `npm run fuzz` runs each for ten minutes.
 */
import { imageOf, type KnownImage } from "@hullmark/verifier/core/vulnerabilities/bind";
import { importedReport } from "@hullmark/verifier/core/vulnerabilities/image-findings";
import { FINDING_SEVERITIES, imageFindings, parseReport, ReportError } from "@hullmark/verifier/core/vulnerabilities/index";
import type { ParsedReport, ReportFormat } from "@hullmark/verifier/core/vulnerabilities/types";
import { excuses } from "@hullmark/verifier/core/vulnerabilities/vex";
import fc from "fast-check";
import { expect, it } from "vitest";
import { digestOf } from "../fakes/digest-of.ts";
import { bytesOf, csafDocument, grypeReport, ociPurl, openvexDocument, purlOf, type Shown, trivyReport } from "../fakes/scan-reports.ts";
import { FUZZ_SECONDS, fuzz, near } from "./mutate.ts";

const TIMEOUT_MS = FUZZ_SECONDS * 1000 + 60_000;
const [CONFIG, MANIFEST, LOW, HIGH] = ["config", "manifest", "low", "high"].map(digestOf) as [string, string, string, string];
const SHOWN: readonly Shown[] = [
  { id: "CVE-2025-0001", name: "libssl3", version: "3.0.11-1", severity: "High", fixed: "3.0.15-1", layer: LOW },
  { id: "CVE-2025-0002", name: "bash", version: "5.2-1", severity: "Negligible", layer: HIGH },
];
const [SSL] = SHOWN as [Shown];
const OF = { config: CONFIG, manifests: [`registry.example/acme/web@${MANIFEST}`], diffIds: [LOW, HIGH] };
const KNOWN: readonly KnownImage[] = [{ configDigest: CONFIG, manifestDigests: [MANIFEST], indexDigests: [digestOf("index")], diffIds: [LOW, HIGH] }];
const LAYERS = { digests: new Set([CONFIG, MANIFEST]), diffIds: [LOW, HIGH], baseLayers: 1 };

const trivy = trivyReport(SHOWN, OF);
const grype = grypeReport(SHOWN, OF);
const modified = { Type: "vulnerability", Status: "not_affected", Statement: "not linked", Source: "vex", Finding: trivy.Results[0]?.Vulnerabilities?.[0] };
const statement = { vulnerability: { name: SSL.id }, status: "not_affected", justification: "vulnerable_code_not_present" };
const message = "Package: libssl3\nInstalled Version: 3.0.11-1\nVulnerability CVE-2025-0001\nSeverity: HIGH\nFixed Version: 3.0.15-1\nLink: x";

const SEEDS: Readonly<Record<ReportFormat, readonly object[]>> = {
  trivy: [trivy, { ...trivy, Results: [{ Class: "os-pkgs", ExperimentalModifiedFindings: [modified] }] }],
  grype: [
    grype,
    {
      ...grype,
      matches: [],
      ignoredMatches: grype.matches.map((match) => ({
        ...{ ...match, relatedVulnerabilities: [{ ...match.vulnerability, id: "CVE-2025-0009" }] },
        appliedIgnoreRules: [{ vulnerability: match.vulnerability.id, reason: "not linked", namespace: "", "vex-status": "not_affected" }],
      })),
    },
  ],
  sarif: [
    {
      version: "2.1.0",
      runs: [
        {
          tool: {
            driver: { name: "Trivy", version: "1", rules: [{ id: SSL.id, properties: { "security-severity": "8.1", tags: ["vulnerability", "HIGH"] } }] },
          },
          results: [{ ruleId: SSL.id, ruleIndex: 0, level: "error", message: { text: message } }],
          properties: { imageID: CONFIG, repoDigests: OF.manifests },
        },
      ],
    },
  ],
  csaf: [
    csafDocument(MANIFEST, SSL, [
      {
        cve: SSL.id,
        product_status: { known_not_affected: ["part", "bare"], fixed: ["package"], known_affected: ["image"], under_investigation: ["elsewhere"] },
        flags: [{ label: "vulnerable_code_not_present", group_ids: ["all"], product_ids: ["bare"] }],
        threats: [{ category: "impact", details: "not linked", product_ids: ["part"] }],
      },
    ]),
  ],
  cyclonedx: [
    {
      ...{ bomFormat: "CycloneDX", specVersion: "1.6", version: 1 },
      metadata: {
        timestamp: "2026-11-20T08:00:00Z",
        tools: { components: [{ type: "application", name: "trivy", version: "0.62.1" }] },
        component: { "bom-ref": "root", type: "container", name: "acme/web", purl: ociPurl(MANIFEST) },
      },
      components: [{ "bom-ref": "ssl", type: "library", name: "libssl3", version: SSL.version, purl: purlOf(SSL) }],
      vulnerabilities: [
        {
          id: SSL.id,
          ratings: [{ severity: "high", method: "CVSSv31", vector: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H" }],
          affects: [{ ref: "ssl", versions: [{ range: "vers:deb/>=3.0.15-1", status: "unaffected" }] }],
        },
        { id: "CVE-2025-0003", analysis: { state: "not_affected", justification: "code_not_reachable", detail: "not linked" }, affects: [{ ref: "ssl" }] },
      ],
    },
  ],
  openvex: [
    openvexDocument([
      { ...statement, products: [{ "@id": ociPurl(MANIFEST), subcomponents: [{ "@id": purlOf(SSL) }] }] },
      { ...statement, status: "affected", action_statement: "update", products: [{ "@id": purlOf(SSL) }] },
    ]),
  ],
  spdx: [
    {
      spdxVersion: "SPDX-2.3",
      creationInfo: { created: "2026-11-20T08:00:00Z", creators: ["Tool: syft-1.20"] },
      packages: [
        {
          ...{ name: "libssl3", versionInfo: SSL.version },
          externalRefs: [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: purlOf(SSL) }],
        },
        { name: "acme/web", versionInfo: MANIFEST, primaryPackagePurpose: "CONTAINER" },
      ],
    },
  ],
};

function refusing<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof ReportError) return undefined;
    throw error;
  }
}

function checkBounds({ findings, statements, createdAtMs, tool }: ParsedReport): void {
  const texts = findings.flatMap(({ id, aliases, package: of, fixedIn, layer }) => [id, ...aliases, of.name, of.version, of.purl, ...fixedIn, layer]);
  for (const each of [tool, ...texts, ...statements.flatMap(({ ids, detail }) => [...ids, detail])]) expect(each.length).toBeLessThanOrEqual(4096);
  for (const { severity, cvss = 0, epss = 0, id } of findings) {
    expect(FINDING_SEVERITIES).toContain(severity);
    expect([id !== "", cvss >= 0 && cvss <= 10, epss >= 0 && epss <= 1]).toEqual([true, true, true]);
  }
  if (createdAtMs !== undefined) expect(Number.isFinite(createdAtMs)).toBe(true);
}

const recorded = (report: ParsedReport, name: string) =>
  importedReport({ ...report, digest: digestOf(name), importedAtMs: 0, importedBy: "ann", configDigest: CONFIG, manifestDigests: [], note: "" } as never);
const scan = recorded(parseReport(bytesOf(trivy)), "scan");
const bare = imageFindings([scan], LAYERS).map(({ id }) => id);

it.each(Object.entries(SEEDS))(
  "%s",
  (_, seeds) => {
    const inputs = fc.oneof({ weight: 3, arbitrary: near(seeds.map(bytesOf)) }, { weight: 1, arbitrary: altered(seeds) });
    for (const seed of seeds) expect(refusing(() => parseReport(bytesOf(seed)))).toBeDefined();
    const runs = fuzz(inputs, (bytes) => {
      const report = refusing(() => parseReport(bytes));
      if (!report) return;
      checkBounds(report);
      refusing(() => imageOf(report.subject, undefined, KNOWN));
      const together = imageFindings([scan, recorded(report, "other")], LAYERS);
      expect(together.map(({ id }) => id)).toEqual(expect.arrayContaining(bare));
      for (const { suppressed, statement: by } of together) expect(suppressed).toBe(by !== undefined && excuses(by.statement));
    });
    expect(runs).toBeGreaterThan(0);
  },
  TIMEOUT_MS,
);

/** Valid JSON of another shape: one value of a seed is replaced. Edits of bytes mostly end at the JSON parser. */
function altered(seeds: readonly object[]): fc.Arbitrary<Buffer> {
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom(-1, 1e308, "1e309", "pkg:oci/x@", "pkg:%", "9999999999-01-01T00:00:00Z", "\u0000", [], {}),
  );
  return fc.tuple(fc.constantFrom(...seeds), fc.nat(), value).map(([seed, at, other]) => {
    let left = at % count(seed);
    return bytesOf(JSON.parse(JSON.stringify(seed), (_, each) => (left-- === 0 ? other : each)));
  });
}

function count(seed: object): number {
  let values = 0;
  JSON.parse(JSON.stringify(seed), (_, each) => {
    values++;
    return each;
  });
  return values;
}
