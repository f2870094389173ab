/**
 * What scanners really wrote, not what their documentation says that they write: Grype 0.121.3, Syft 1.57.1 and Trivy 0.74.0 (as they come with `go install`, hence
 * Trivy's version `dev`) on images of the test bed in a registry, Grype with a database of two entries, Trivy with one of three (Debian, npm). Addresses in them were
 * replaced, nothing else. `trivy.suppressed.json` is of `--show-suppressed` with an OpenVEX document and an ignored id, `trivy.of-sbom.json` of `trivy sbom trivy.cyclonedx.json`.
 */
import { readFileSync } from "node:fs";
import { imageOf } from "@hullmark/verifier/core/vulnerabilities/bind";
import { parseReport } from "@hullmark/verifier/core/vulnerabilities/index";
import { expect, test } from "vitest";

const parsed = (name: string) => parseReport(readFileSync(new URL(`../vectors/scans/${name}`, import.meta.url)));
const IMAGE = {
  configDigest: "sha256:772c4e0ad522b587a8abcf8d0f11d4de7ea8220989dae9ba860110bf4ce8a6a2",
  index: "sha256:cf103c87429bbb8867cf036f3d17c28617598d1a67759b6b493e15f63912a2d0",
  manifest: "sha256:68c6aea50e3f23566f886a95228ae1a40fd2732d817d7eb5f7a8605ca1b35cfa",
  layer: "sha256:13bf165fdaf412a099accef19c41a983f9094341c53296124636d5f6323a9ca2",
};
const CURL = { name: "curl", version: "7.88.1-10+deb12u14" };

test("Grype's JSON: of which image, in which layer, how grave, what mends it", () => {
  const report = parsed("grype.json");
  expect(report).toMatchObject({ format: "grype", isScan: true, leftOut: 0, createdAtMs: expect.any(Number) });
  expect(report.subject.configDigest).toBe(IMAGE.configDigest);
  expect(report.subject.manifestDigests).toEqual(expect.arrayContaining([IMAGE.index, IMAGE.manifest]));
  expect(report.subject.diffIds).toContain(IMAGE.layer);
  expect(report.findings).toMatchObject([
    { id: "CVE-2099-0001", severity: "high", cvss: 9.8, fixedIn: ["7.88.1-10+deb12u99"], layer: IMAGE.layer, package: CURL },
    { id: "CVE-2099-0002", severity: "negligible", cvss: 1.8, fixedIn: [], layer: IMAGE.layer, package: CURL },
  ]);
});

test.each(["grype.cyclonedx.json", "grype.sarif"])("%s has the same findings and is a scan, and does not name the image", (name) => {
  const report = parsed(name);
  expect(report).toMatchObject({ isScan: true, leftOut: 0, subject: { configDigest: undefined, manifestDigests: [] } });
  expect(report.findings.map(({ id, package: of }) => [id, of.name, of.version]).toSorted()).toEqual(
    ["CVE-2099-0001", "CVE-2099-0002"].map((id) => [id, CURL.name, CURL.version]),
  );
  expect(report.findings.find(({ id }) => id === "CVE-2099-0001")).toMatchObject({ severity: "high" });
});

test("lists of parts by Syft are no scan; SPDX names the image", () => {
  expect(parsed("syft.spdx.json")).toMatchObject({ format: "spdx", isScan: false, findings: [], subject: { manifestDigests: [IMAGE.manifest] }, packages: 2 });
  expect(parsed("syft.cyclonedx.json")).toMatchObject({ format: "cyclonedx", isScan: false, findings: [] });
});

const [BASE, TOOLS, APP] = [
  "sha256:83eac66bc1addce78b6e8f094b82f17baee87268c27a2461f152ca0ab403c06d",
  "sha256:e138be7754537bdc1fd25b88201e3e132eac68000e479032b588cacdc7049f06",
  "sha256:aacfb0cb21daf6b0e6aa4f29961b879e0d6d05013f013b37a40c8cb96ea0e2c5",
] as const;
/** As the verifier knows it: layers lowest first. */
const SCANNED = {
  configDigest: "sha256:8653f14a7d09ed66cd211a98851d23bb19146f97c7b9e1cff4c95b9f674f9bb4",
  manifestDigests: ["sha256:178cdda2fddf1e8e10416fb6275c1e64a9fbb353eff465103faf4c7da7463950"],
  ...{ indexDigests: [], diffIds: [BASE, TOOLS, APP] },
};
const [FLAW, SMALL, PARTS, LODASH] = [
  { id: "CVE-2099-0001", severity: "high", cvss: 9.8, fixedIn: ["7.88.1-10+deb12u99"], package: CURL },
  { id: "CVE-2099-0002", severity: "low", cvss: undefined, fixedIn: [], package: CURL },
  { id: "CVE-2099-0003", severity: "critical", cvss: 9.3, fixedIn: ["2.1.0"], package: { name: "@acme/parts", version: "2.0.0" } },
  { id: "CVE-2099-0003", severity: "critical", cvss: 9.3, fixedIn: ["4.17.99"], package: { name: "lodash", version: "4.17.20" } },
];
const LAYERED = [
  { ...FLAW, layer: TOOLS },
  { ...SMALL, layer: TOOLS },
  { ...PARTS, layer: APP },
  { ...LODASH, layer: APP },
];

test.each([
  { name: "trivy.json", found: LAYERED },
  { name: "trivy.of-sbom.json", found: LAYERED },
  { name: "trivy.cyclonedx.json", found: LAYERED },
  { name: "trivy.sarif", found: [FLAW, SMALL, PARTS, LODASH] },
])("$name of Trivy is a scan of the image by its digests, with the same findings, scores, fixes and layers as its other forms", ({ name, found }) => {
  const report = parsed(name);
  expect(report).toMatchObject({ isScan: true, leftOut: 0, statements: [] });
  expect(report.findings.toSorted((a, b) => (a.id + a.package.name < b.id + b.package.name ? -1 : 1))).toMatchObject(found);
  expect(imageOf(report.subject, undefined, [SCANNED])).toBe(SCANNED.configDigest);
  expect(report.subject.manifestDigests).toEqual(SCANNED.manifestDigests);
  expect(() => imageOf(report.subject, `sha256:${"0".repeat(64)}`, [])).toThrow("not of");
});

test("Trivy's SPDX names the image and its packages", () => {
  const report = parsed("trivy.spdx.json");
  expect(report).toMatchObject({ format: "spdx", isScan: false, findings: [], packages: 4 });
  expect(imageOf(report.subject, undefined, [SCANNED])).toBe(SCANNED.configDigest);
});

test("what Trivy left out by a statement is a statement with its justification; what somebody ignored is found", () => {
  const report = parsed("trivy.suppressed.json");
  expect(report.findings.map(({ id, package: { name } }) => `${id} ${name}`).toSorted()).toEqual(
    LAYERED.map(({ id, package: { name } }) => `${id} ${name}`).toSorted(),
  );
  expect(report.statements).toMatchObject([
    {
      ids: ["CVE-2099-0001"],
      status: "not_affected",
      justification: "vulnerable_code_not_in_execute_path",
      detail: "",
      products: [{ purl: expect.stringContaining("curl") }],
    },
  ]);
});
