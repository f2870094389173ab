/**
 * What scanners really wrote, not what their documentation says that they write: Grype 0.121.3 and Syft 1.57.1 (as they come with `go install`) on an image of the
 * test bed in a registry, Grype with a database of two entries. Addresses in them were replaced, nothing else.
 */
import { readFileSync } from "node:fs";
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
