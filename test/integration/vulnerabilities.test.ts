/** Reports of scanners on an image that runs: bound to it, kept over a restart, shown with the layer, the base and the nodes, excused by its maker, taken away. */
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ProvenanceStatus } from "@hullmark/proto/v1/query";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Attester } from "../fakes/attester.ts";
import { digestOf } from "../fakes/digest-of.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { signByKey } from "../fakes/key-signed.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { grypeReport, ociPurl, openvexDocument, purlOf, type Shown, trivyReport } from "../fakes/scan-reports.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const DAY_MS = 86_400_000;
const verifier = new TestVerifier();
let registry: FakeRegistry;
let [base, web]: PushedImage[] = [];
let ssl: Shown;
let app: Shown;
let number = 0;
let attester: Attester;

const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const POLICY = JSON.stringify({
  ...{ apiVersion: "hullmark.dev/v1", kind: "Policy", metadata: { name: "scanned" } },
  spec: {
    authorities: [{ name: "release", key: publicKey.export({ type: "spki", format: "pem" }) }],
    rules: [
      {
        name: "web",
        select: { images: ["**/acme/web:*"] },
        require: { signatures: { authorities: ["release"] }, vulnerabilities: { maxSeverity: "medium", maxAge: "7d" } },
      },
    ],
  },
});
const CONFIG = `enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(POLICY)}`;
/** What policy makes of the image that runs. */
const becomes = (status: ProvenanceStatus, words: string) =>
  expect
    .poll(async () => (await verifier.query.getWorkload({ container: "web" })).workload?.provenance, { timeout: 60_000 })
    .toMatchObject({ status, text: expect.stringContaining(words) });

const run = async (...args: string[]) => await (await hullmarkOf(verifier))(...args);
const vulnerabilities = (...args: string[]) => run("vulnerabilities", ...args);
const shown = async () => JSON.parse((await vulnerabilities("show", tag(), "-o", "json")).out);
const tag = (): string => `${web?.repository}:${web?.tag}`;
const daysAgo = (days: number): string => new Date(Date.now() - days * DAY_MS).toISOString();
function logged(): { readonly action: string; readonly format?: string }[] {
  const database = new Database(join(verifier.directory, "state/verifier.db"), { readonly: true });
  try {
    const rows = database.prepare("SELECT entry FROM log_entries ORDER BY position").all() as { entry: Buffer }[];
    return rows.map(({ entry }) => JSON.parse(entry.toString())).filter(({ action }) => /^vulnerabilities-/.test(action));
  } finally {
    database.close();
  }
}
function file(content: unknown): string {
  const path = join(verifier.directory, `report-${number++}.json`);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}
const ofWeb = (createdAt: string) => ({
  config: web?.configDigest ?? "",
  manifests: [`${web?.repository}@${web?.manifestDigest}`],
  diffIds: web?.diffIds ?? [],
  createdAt,
});

beforeAll(async () => {
  registry = await startFakeRegistry();
  const lowest = { "etc/app.conf": "port=80\n" };
  base = await pushImage(`${registry.host}/acme/base`, { layers: [lowest] });
  web = await pushImage(`${registry.host}/acme/web`, { layers: [lowest, { "app/main": "x" }] });
  ssl = { id: "CVE-2025-0001", name: "libssl3", version: "3.0.11-1", severity: "High", fixed: "3.0.15-1", layer: web.diffIds[0] ?? "" };
  app = { id: "CVE-2025-0002", name: "app", version: "1.0", severity: "Low", layer: web.diffIds[1] ?? "" };
  const client = new OciRegistry();
  await signByKey(client, web, privateKey);
  client.close();
  await verifier.start(CONFIG);
  attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await attester.connect();
  for (const [name, image] of Object.entries({ base, web })) {
    const layers = image.diffIds.map((_, index) => ({ id: `${name}-${index}`, tree: LayerTree.build([]) }));
    const own = { id: `init-${name}`, tree: dockerInitLayer(MergedTree.of([])), runtimeMade: true };
    attester.set({
      ...{ id: name.padEnd(64, "0"), name },
      image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
      layers: [...layers, own],
      upper: new Map(),
    });
  }
  await attester.report();
});
afterAll(async () => {
  await verifier.dispose();
  await registry.close();
});

test("an image of which no scan is known is not clean", async () => {
  await expect.poll(async () => (await verifier.query.listImages({})).images.length, { timeout: 60_000 }).toBe(2);
  await expect.poll(async () => (await shown()).places[0]?.nodeAttested, { timeout: 60_000 }).toBe(true);
  await becomes(ProvenanceStatus.ATTESTATION_MISSING, "vulnerabilities: no scan");
  const { code, out } = await vulnerabilities("ls");
  expect(code).toBe(3);
  expect(out).toMatch(/acme\/web:latest +[0-9]+ +\? .* never +no-report/);
  expect(await vulnerabilities("show", tag())).toMatchObject({ code: 3, out: expect.stringContaining("no scan of this image") });
  expect(await vulnerabilities("show", "nobody:1")).toMatchObject({ code: 2 });
});

test("a scan is bound to its image: layers, base, node and who handed it in are shown", async () => {
  const imported = await vulnerabilities("import", file(trivyReport([ssl, app], ofWeb(daysAgo(1)))));
  expect(imported).toMatchObject({ code: 0, out: expect.stringContaining(`of ${web?.configDigest}: 2 findings, 1 left out`) });
  const view = await shown();
  expect(view).toMatchObject({ open: 2, scanned: true, containers: 1, unknowns: [], baseLayers: 1, base: `${base?.repository}:latest` });
  expect(view.vulnerabilities).toMatchObject([
    {
      id: "CVE-2025-0001",
      severity: "high",
      package: "libssl3",
      fixedIn: ["3.0.15-1"],
      layerIndex: 0,
      ofBase: true,
      diffId: web?.diffIds[0],
      history: "COPY etc/app.conf / # 0",
    },
    { id: "CVE-2025-0002", severity: "low", layerIndex: 1, ofBase: false, suppressed: false },
  ]);
  expect(view.places).toMatchObject([{ nodeName: "w-1", nodeAttested: true, containerName: "web" }]);
  expect(view.reports).toMatchObject([{ format: "trivy", tool: "Trivy 0.62.1", importedBy: "admin", scan: true, findings: 2 }]);
  const page = await vulnerabilities("show", tag());
  expect(page.code).toBe(1);
  expect(page.out).toMatch(/CVE-2025-0001 +high +libssl3 +3\.0\.11-1 +3\.0\.15-1 +0 \(base\) +open/);
  expect(page.out).toMatch(/Runs +w-1 \(node attested, trust .*\): 1 of web/);
  expect(view.risk.terms.map(({ name, figure }: { name: string; figure: number }) => [name, figure])).toMatchObject([
    ...[
      ["vulnerabilities", 9],
      ["scan", 0],
      ["exposure", 4],
      ["provenance", 10],
    ],
    ["drift", expect.any(Number)],
    ["node", 1],
  ]);
  expect(view.risk.score).toBe(view.risk.terms.reduce((sum: number, { figure }: { figure: number }) => sum + figure, 0));
  expect(page.out).toMatch(/Risk +[0-9]+ of 100\n +9 of 50 +vulnerabilities +2 open, the heaviest CVE-2025-0001 in libssl3/);
  await becomes(ProvenanceStatus.ATTESTATION_MISSING, "Would do: update libssl3 to 3.0.15-1");
  // The gravest first.
  expect((await vulnerabilities("ls")).out.split("\n")[1]).toContain("acme/web");
});

test("what contradicts the image, is older than what counts, or is no report is refused and changes nothing", async () => {
  const before = await shown();
  const refused = async (content: unknown, words: string, ...args: string[]) =>
    expect(await vulnerabilities("import", file(content), ...args)).toMatchObject({ code: expect.any(Number), err: expect.stringContaining(words), out: "" });
  const newer = ofWeb(daysAgo(0));
  await refused(trivyReport([], { ...newer, diffIds: [digestOf("x")] }), "other layers");
  await refused(trivyReport([], newer), "not of", "--image", base?.configDigest ?? "");
  await refused(trivyReport([], { ...newer, manifests: [`a/b@${base?.manifestDigest}`] }), "names digests of");
  await refused(trivyReport([], ofWeb(daysAgo(2))), "a newer report");
  await refused(openvexDocument([]), "names no image");
  await refused("{", "not JSON");
  await refused(trivyReport([], newer), "no container runs", "--image", "nobody:1");
  await refused(trivyReport([], newer), `of the same repository there run ${web?.configDigest} (${tag()})`, "--image", `${tag()}-next`);
  expect(await vulnerabilities("import", join(verifier.directory, "absent"))).toMatchObject({ code: 2 });
  expect(await shown()).toEqual(before);
});

test("its maker's statement excuses what it is about, and a second scanner's word is added", async () => {
  const statement = { vulnerability: { name: "CVE-2025-0001" }, status: "not_affected", justification: "vulnerable_code_not_in_execute_path" };
  const product = { "@id": ociPurl(web?.manifestDigest ?? ""), subcomponents: [{ "@id": purlOf(ssl) }] };
  expect(await vulnerabilities("import", file(openvexDocument([{ ...statement, products: [product] }])))).toMatchObject({ code: 0 });
  expect(await vulnerabilities("import", file(grypeReport([app], ofWeb(daysAgo(1)))))).toMatchObject({ code: 0 });
  await becomes(ProvenanceStatus.ATTESTATION_MISSING, "CVE-2025-0002 in app 1.0 (low, known to be exploited)");
  const { vulnerabilities: found, counts, reports } = await shown();
  expect(found).toMatchObject([
    { id: "CVE-2025-0002", knownExploited: true, epss: 0.42, suppressed: false },
    { id: "CVE-2025-0001", suppressed: true, statement: { status: "not_affected", justification: "vulnerable_code_not_in_execute_path" } },
  ]);
  expect([counts.high, counts.low, counts.suppressed, counts.knownExploited]).toEqual([0, 1, 1, 1]);
  expect(found[0].reports).toHaveLength(2);
  expect(reports).toHaveLength(3);
  expect((await vulnerabilities("show", tag())).out).toContain("not affected (vulnerable code not in execute path)");
});

test("policy takes what pleases once the scan that does not is taken away, and refuses again when it comes back", async () => {
  const [grype] = (await shown()).reports.filter(({ format }: { format: string }) => format === "grype");
  await vulnerabilities("rm", grype.digest, "-m", "wrong");
  // The statement of its maker excuses what the other one has.
  await becomes(ProvenanceStatus.SIGNED, "signed by release");
  await vulnerabilities("import", file(grypeReport([app], ofWeb(daysAgo(1)))));
  await becomes(ProvenanceStatus.ATTESTATION_MISSING, "known to be exploited");
});

test("all of it is there after a restart, and each step is in the log; a newer scan counts in the old one's place, and one that is taken away no more", async () => {
  const before = await shown();
  await verifier.stop();
  await verifier.start(CONFIG);
  const after = await shown();
  // The node has not come back: what its containers may is not known any more.
  expect({ ...after, places: [], risk: {} }).toEqual({ ...before, places: [], risk: {} });
  expect(after.risk.terms[2].because).toContain("what 1 of them may is not known");
  const imported = await vulnerabilities("import", file(trivyReport([app], ofWeb(daysAgo(0)))), "-o", "json");
  const { digest, replaces } = JSON.parse(imported.out);
  expect(replaces).toBe(before.reports.find(({ format }: { format: string }) => format === "trivy").digest);
  expect((await shown()).vulnerabilities.map(({ id }: { id: string }) => id)).toEqual(["CVE-2025-0002"]);
  expect(await vulnerabilities("rm", digest, "-m", "wrong tag scanned")).toMatchObject({ code: 0, out: "gone: it counted for 1 image\n" });
  expect(await vulnerabilities("rm", digest, "-m", "again")).toMatchObject({ code: 2 });
  expect((await shown()).reports.map(({ format }: { format: string }) => format).sort()).toEqual(["grype", "openvex"]);
  expect(logged().map(({ action, format = "" }) => `${action} ${format}`.trim())).toEqual([
    ...["trivy", "openvex", "grype"].map((format) => `vulnerabilities-imported ${format}`),
    "vulnerabilities-removed",
    ...["grype", "trivy"].map((format) => `vulnerabilities-imported ${format}`),
    "vulnerabilities-removed",
  ]);
  expect(logged().at(-1)).toMatchObject({ report: digest, by: "admin", reason: "wrong tag scanned" });
});

test("a scan grows old", async () => {
  await vulnerabilities("import", file(grypeReport([], ofWeb(daysAgo(1)))));
  verifier.clock.shiftMs += 9 * DAY_MS;
  try {
    expect((await shown()).unknowns).toMatchObject([{ code: "old-report" }]);
  } finally {
    verifier.clock.shiftMs -= 9 * DAY_MS;
  }
});

test("policy that asks for a risk judges what runs anew, as reports come and go", async () => {
  await attester.close();
  attester.options = { ...attester.options, mainAddress: verifier.mainAddress };
  await attester.connect();
  await attester.report();
  const asking = JSON.parse(POLICY);
  const { signatures } = asking.spec.rules[0].require;
  asking.spec.rules[0].require = { signatures, risk: { max: 10, where: "risk.terms.scan == 0" } };
  verifier.policy(JSON.stringify(asking));
  await verifier.adminClient.reloadPolicy({});
  await becomes(ProvenanceStatus.SIGNED, "signed by release");
  const worse = { ...app, id: "CVE-2025-0003", severity: "Critical", fixed: "1.1" };
  await vulnerabilities("import", file(grypeReport([worse], ofWeb(daysAgo(0)))));
  await becomes(ProvenanceStatus.ATTESTATION_MISSING, "Would do: update app 1.0 to 1.1");
  expect((await verifier.query.getWorkload({ container: "web" })).workload?.provenance?.text).toContain("Asked for: risk: at most 10, risk.terms.scan == 0");
  const { digest } = (await shown()).reports.find(({ format }: { format: string }) => format === "grype");
  await vulnerabilities("rm", digest, "-m", "wrong");
  // Nobody knows any more: that passes nothing.
  await becomes(ProvenanceStatus.ATTESTATION_MISSING, "risk: no scan: its risk is not known");
});
