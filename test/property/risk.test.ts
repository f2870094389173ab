import type { RiskFacts, RiskFinding } from "@hullmark/verifier/core/risk/facts";
import { knownRisk } from "@hullmark/verifier/core/risk/known-risk";
import { MAX_RISK, riskOf } from "@hullmark/verifier/core/risk/risk";
import type { ImageOverview } from "@hullmark/verifier/core/vulnerabilities/index";
import { FINDING_SEVERITIES, rankOf } from "@hullmark/verifier/core/vulnerabilities/types";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { digestOf } from "../fakes/digest-of.ts";

const finding: fc.Arbitrary<RiskFinding> = fc.record({
  id: fc.constantFrom("CVE-2025-0001", "CVE-2025-0002", "CVE-2025-0003"),
  severity: fc.constantFrom(...FINDING_SEVERITIES),
  epss: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
  knownExploited: fc.boolean(),
  suppressed: fc.boolean(),
  package: fc.record({ name: fc.constantFrom("libssl3", "bash"), version: fc.constantFrom("1", "2") }),
  fixedIn: fc.constantFrom<readonly string[]>([], ["3"]),
  layer: fc.constantFrom("", digestOf("l")),
  layerIndex: fc.integer({ min: -1, max: 3 }),
  ofBase: fc.boolean(),
});
const exposure = fc.record({
  privileged: fc.boolean(),
  hostNamespaces: fc.subarray(["net", "pid"]),
  capabilities: fc.subarray(["NET_ADMIN"]),
  hostMounts: fc.subarray(["/", "/etc"]),
});
const facts: fc.Arbitrary<RiskFacts> = fc.record({
  findings: fc.array(finding, { maxLength: 30 }),
  scanAgeDays: fc.option(fc.nat(400), { nil: undefined }),
  scanned: fc.boolean(),
  provenance: fc.constantFrom("signed" as const, "unsigned" as const, "unknown" as const, "revoked" as const, "wrong-key" as const),
  places: fc.array(
    fc.record({
      exposure: fc.option(exposure, { nil: undefined }),
      node: fc.constantFrom("tpm" as const, "tofu" as const, "none" as const, "unattested" as const),
      openDrifts: fc.nat(2),
    }),
    { maxLength: 5 },
  ),
  base: fc.constantFrom("", "debian:12"),
  source: fc.constantFrom("", "https://git.example/acme"),
});
const NOTHING: RiskFacts = { findings: [], scanAgeDays: 0, scanned: true, provenance: "signed", places: [], base: "", source: "" };
const SSL: RiskFinding = {
  ...{ id: "CVE-2025-0001", severity: "critical", epss: undefined, knownExploited: false, suppressed: false, fixedIn: ["3.0.15-1"] },
  ...{ package: { name: "libssl3", version: "3.0.11-1" }, layer: digestOf("l"), layerIndex: 0, ofBase: true },
};
const figures = (of: Partial<RiskFacts>) => Object.fromEntries(riskOf({ ...NOTHING, ...of }).terms.map(({ name, figure }) => [name, figure]));

describe("whatever the facts", () => {
  test("the score is the sum of the terms' figures, at most 100, and each figure is whole and within its bounds", () => {
    fc.assert(
      fc.property(facts, (of) => {
        const { score, terms, remedy } = riskOf(of);
        expect(score).toBe(
          Math.min(
            MAX_RISK,
            terms.reduce((sum, { figure }) => sum + figure, 0),
          ),
        );
        for (const { figure, max } of terms) expect(Number.isInteger(figure) && figure >= 0 && figure <= max).toBe(true);
        expect(remedy.includes("\n")).toBe(false);
      }),
    );
  });

  test("one vulnerability more never lowers it, nor does a graver, likelier or no longer excused one", () => {
    fc.assert(
      fc.property(facts, finding, fc.nat(), (of, more, at) => {
        const { score } = riskOf(of);
        expect(riskOf({ ...of, findings: [...of.findings, more] }).score).toBeGreaterThanOrEqual(score);
        const changed = of.findings[at % Math.max(1, of.findings.length)];
        if (!changed) return;
        const rest = of.findings.filter((each) => each !== changed);
        const with_ = (change: Partial<RiskFinding>): number => riskOf({ ...of, findings: [...rest, { ...changed, ...change }] }).score;
        expect(with_({ knownExploited: true })).toBeGreaterThanOrEqual(score);
        expect(with_({ suppressed: false })).toBeGreaterThanOrEqual(score);
        expect(with_({ epss: 1 })).toBeGreaterThanOrEqual(score);
        if (rankOf(more.severity) >= rankOf(changed.severity)) expect(with_({ severity: more.severity })).toBeGreaterThanOrEqual(score);
      }),
    );
  });

  test("the order of the facts changes nothing, not even a word", () => {
    fc.assert(
      fc.property(facts, (of) => {
        expect(riskOf({ ...of, findings: of.findings.toReversed(), places: of.places.toReversed() })).toEqual(riskOf(of));
      }),
    );
  });

  test("a container more never lowers what exposure and node say", () => {
    fc.assert(
      fc.property(facts, facts, (of, others) => {
        const more = { ...of, places: [...of.places, ...others.places] };
        expect(figures(more)["exposure"]).toBeGreaterThanOrEqual(figures(of)["exposure"] ?? 0);
        expect(figures(more)["node"]).toBeGreaterThanOrEqual(figures(of)["node"] ?? 0);
      }),
    );
  });
});

describe("figures as docs/risk.md has them", () => {
  const place = { exposure: { privileged: false, hostNamespaces: [], capabilities: [], hostMounts: [] }, node: "tpm" as const, openDrifts: 0 };
  test("vulnerabilities: weight w counts 50 w / (w + 40)", () => {
    expect(figures({ findings: [SSL] })["vulnerabilities"]).toBe(14);
    expect(figures({ findings: [{ ...SSL, knownExploited: true }] })["vulnerabilities"]).toBe(27);
    expect(figures({ findings: [{ ...SSL, epss: 0.5 }] })["vulnerabilities"]).toBe(22);
    expect(figures({ findings: [{ ...SSL, suppressed: true }] })["vulnerabilities"]).toBe(0);
  });
  test("scan", () => {
    expect([0, 7, 8, 14, 15, 1000].map((scanAgeDays) => figures({ scanAgeDays })["scan"])).toEqual([0, 0, 2, 2, 4, 19]);
    expect([figures({ scanned: false })["scan"], figures({ scanAgeDays: undefined })["scan"]]).toEqual([20, 8]);
  });
  test("exposure, drift and node", () => {
    expect(figures({ places: [place] })).toMatchObject({ exposure: 4, drift: 0, node: 0 });
    expect(
      figures({ places: [{ ...place, exposure: { ...place.exposure, privileged: true, hostNamespaces: ["net"] }, openDrifts: 1, node: "none" }] }),
    ).toMatchObject({
      ...{ exposure: 19, drift: 10, node: 4 },
    });
    expect(figures({ places: [place, { ...place, exposure: undefined, openDrifts: 1, node: "unattested" }] })).toMatchObject({
      exposure: 10,
      drift: 7,
      node: 8,
    });
  });
});

describe("the remedy", () => {
  const remedy = (of: Partial<RiskFacts>): string => riskOf({ ...NOTHING, ...of }).remedy;
  test("names package, version, layer and who can change it", () => {
    expect(remedy({ findings: [SSL], base: "debian:12" })).toBe(
      `update libssl3 3.0.11-1 to 3.0.15-1 in layer 0 (${digestOf("l")}), of the base debian:12: build on a newer one: CVE-2025-0001`,
    );
    const own = { ...SSL, ofBase: false, layerIndex: 2 };
    expect(remedy({ findings: [own, { ...own, id: "CVE-2025-0002", severity: "low" }], source: "https://git.example/acme" })).toContain(
      "of its own build, from https://git.example/acme: CVE-2025-0001 and 1 more",
    );
  });
  test("without a fix, without a scan, and where nothing would lower it", () => {
    expect(remedy({ findings: [{ ...SSL, fixedIn: [] }] })).toContain("no fix is known for CVE-2025-0001: take libssl3 out");
    expect(remedy({ scanned: false })).toContain("hullmark vulnerabilities import");
    expect(remedy({})).toBe("");
  });
});

test("what is known of an image's vulnerabilities does not depend on when somebody looked, nor on who looked last; without a scan nothing is known", () => {
  const scan = { isScan: true, createdAtMs: 0 } as ImageOverview["reports"][number];
  const ssl = SSL as ImageOverview["findings"][number];
  const { figure } = riskOf({ ...NOTHING, findings: [SSL] }).terms.find(({ name }) => name === "vulnerabilities") ?? {};
  expect(knownRisk({ findings: [ssl], reports: [scan] })).toEqual({ figure, because: expect.stringContaining("CVE-2025-0001") });
  expect(knownRisk({ findings: [{ ...ssl, suppressed: true }], reports: [scan] })).toMatchObject({ figure: 0 });
  expect(knownRisk({ findings: [ssl], reports: [{ ...scan, isScan: false }] })).toBeUndefined();
});
