/** A drift, or a refusal at the cluster's door, of an image whose signed provenance names a commit is a failed status there, until it is over; what another names is not asked of anybody. */
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { attestCommand } from "hullmark/commands/attest";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Github } from "../fakes/code-hosts.ts";
import { runCommand } from "../fakes/command-run.ts";
import { HttpReceiver } from "../fakes/http-receiver.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { signByKey } from "../fakes/key-signed.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { TestVerifier } from "../fakes/verifier.ts";

vi.setConfig({ testTimeout: 240_000 });
// That an alert is over is told half a minute later, lest it flaps.
const POLL = { timeout: 150_000, interval: 200 };
const SHA = "3e1f".repeat(10);
let registry: FakeRegistry;
let github: Github;
let verifier: TestVerifier;

beforeEach(async () => {
  registry = await startFakeRegistry();
  github = await new Github().start();
  github.repositories.set("acme/shop", [SHA]).set("acme/other", [SHA]);
  verifier = new TestVerifier();
});
afterEach(async () => {
  await verifier.dispose();
  await github[Symbol.asyncDispose]();
  await registry.close();
});

const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const origin = (): string => github.url.replace("http:", "https:");

/** Built from {@link SHA} of the repository of its name, as its provenance says that CI has signed. */
async function builtImage(name: string, layers?: readonly Readonly<Record<string, string>>[]): Promise<PushedImage> {
  const image = await pushImage(`${registry.host}/acme/${name}`, layers ? { layers } : {});
  const key = join(verifier.directory, "ci.key");
  writeFileSync(key, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  const predicate = join(verifier.directory, `${name}.json`);
  const dependency = { uri: `git+${origin()}/acme/${name}@refs/heads/main`, digest: { gitCommit: SHA } };
  writeFileSync(
    predicate,
    JSON.stringify({
      buildDefinition: { buildType: "https://b.example/v1", externalParameters: {}, resolvedDependencies: [dependency] },
      runDetails: { builder: { id: "https://b.example" } },
    }),
  );
  const reference = `${image.repository}@${image.manifestDigest}`;
  const environment = { PATH: process.env["PATH"], HOME: verifier.directory, DOCKER_CONFIG: verifier.directory };
  const attested = await runCommand(attestCommand, [reference, "--predicate", predicate, "--type", "slsaprovenance1", "--key", key], environment, Date.now);
  expect(attested, attested.err).toMatchObject({ code: 0 });
  return image;
}

/** A policy with a route to the statuses of one repository. */
function config(spec: object): string {
  const secrets = join(verifier.directory, "alert-secrets");
  mkdirSync(secrets);
  writeFileSync(join(secrets, "github-token"), `${Github.TOKEN}\n`);
  const { url } = github;
  const route = {
    name: "commits",
    type: "commit-status",
    service: "github",
    url,
    token: { fromFile: "github-token" },
    repositories: [`${origin()}/acme/shop`],
  };
  const authorities = [{ name: "ci", key: publicKey.export({ type: "spki", format: "pem" }) }];
  const policy = { ...{ apiVersion: "hullmark.dev/v1", kind: "Policy", metadata: { name: "p" } }, spec: { authorities, alerts: { routes: [route] }, ...spec } };
  return `enrolment: { mode: tofu, acceptWithoutCertificate: true }\nalertSecretsDirectory: ${secrets}\npolicyFile: ${verifier.policy(JSON.stringify(policy))}`;
}

test("a commit fails while what was built from it differs where it runs", async () => {
  const [shop, other] = [await builtImage("shop"), await builtImage("other", [{ "etc/app.conf": "port=80\n", "etc/other": "x" }])];
  for (const image of [shop, other]) await signByKey(new OciRegistry(), image, privateKey);
  await verifier.start(config({ rules: [{ name: "all", require: { build: { authorities: ["ci"] } }, allow: { env: ["**"], args: true } }] }));
  const node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await node.connect();
  node.set(scriptedWeb(shop, 1, ["etc/added"]));
  node.set(scriptedWeb(other, 2, ["etc/added"]));
  await node.report();
  await expect.poll(() => github.statuses, POLL).toMatchObject([{ repository: "acme/shop", sha: SHA, context: "hullmark/web-1", state: "failure" }]);
  expect(github.statuses[0]?.description).toMatch(/^medium added \/etc\/added on 1 node: hullmark incident show I-/);
  // Of the other image there is something to say too, and of whom the route does not list nobody is told.
  await expect
    .poll(async () => (await verifier.query.listDrift({})).drifts.map(({ provenance }) => provenance?.sourceRepository), POLL)
    .toContain(`${origin()}/acme/other`);
  expect((await (await hullmarkOf(verifier))("alert", "test", "commits")).out).toMatch(/commits \(commit-status\): taken/);
  // The end of it is told, and nothing else ever was.
  node.set(scriptedWeb(shop, 1, []));
  await node.report();
  await expect.poll(() => github.statuses.map(({ state }) => state), POLL).toEqual(["success"]);
  expect(new Set(github.received.map(({ url }) => url))).toEqual(new Set([`/repos/acme/shop/statuses/${SHA}`, "/rate_limit"]));
});

/** The API server's question about a pod of the workload shop/web. */
async function mayRun(image: PushedImage, more: object = {}): Promise<boolean> {
  const reference = `${image.repository}@${image.manifestDigest}`;
  const object = { metadata: { name: "web", labels: {} }, spec: { containers: [{ name: "web", image: reference }] } };
  const asked = {
    uid: "u",
    kind: { group: "", version: "v1", kind: "Pod" },
    namespace: "shop",
    operation: "CREATE",
    userInfo: { username: "bob", groups: [] },
  };
  const body = JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request: { ...asked, object, ...more } });
  const text = await new Promise<string>((resolve, reject) => {
    const options = { host: "127.0.0.1", port: verifier.running?.admissionPort, path: "/admission/fail?timeout=30s", method: "POST", ca: verifier.ca };
    const call = request({ ...options, servername: "localhost", headers: { "content-type": "application/json" } }, async (response) =>
      resolve(Buffer.concat(await response.toArray()).toString()),
    );
    call.on("error", reject);
    call.end(body);
  });
  return (JSON.parse(text) as { response: { allowed: boolean } }).response.allowed;
}

test("a commit fails while what was built from it is kept out of the cluster, and no longer than that; nobody is paged for it", async () => {
  await using pager = await new HttpReceiver().start();
  const [shop, other] = [await builtImage("shop"), await builtImage("other", [{ "etc/other": "x" }])];
  const release = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const spec = (extra: object) => ({
    authorities: [
      { name: "ci", key: publicKey.export({ type: "spki", format: "pem" }) },
      { name: "release", key: release.publicKey.export({ type: "spki", format: "pem" }) },
    ],
    rules: [{ name: "door", require: { signatures: { authorities: ["release"] } } }],
    admission: { mode: "enforce" },
    ...extra,
  });
  const own = config(spec({}));
  const text = readFileSync(/policyFile: (.*)$/m.exec(own)?.[1] ?? "", "utf8");
  const both = JSON.parse(text) as { spec: { alerts: { routes: object[] } } };
  both.spec.alerts.routes.push({ name: "page", type: "webhook", url: pager.url, minSeverity: "info" });
  verifier.policy(JSON.stringify(both));
  const started = `${own}\nadmission: { listen: "127.0.0.1:0" }`;
  await verifier.start(started);
  // What was only tried is told to whoever tried it; of a repository that the route does not list nothing is said.
  expect([await mayRun(shop, { dryRun: true }), await mayRun(other)]).toEqual([false, false]);
  expect([await mayRun(shop), await mayRun(shop)]).toEqual([false, false]);
  await expect.poll(() => github.statuses, POLL).toMatchObject([{ repository: "acme/shop", sha: SHA, context: "hullmark/shop/web", state: "failure" }]);
  expect(github.statuses[0]?.description).toMatch(/^kept out of the cluster: not signed: /);
  const posted = () => github.received.filter(({ url }) => url === `/repos/acme/shop/statuses/${SHA}`).length;
  expect(posted()).toBe(1);
  // It is known over a restart, and a week after, when nobody has asked again, the commit is not called well.
  await verifier.stop();
  await verifier.start(started);
  verifier.clock.pass(8 * 86_400_000);
  const told = async () => (await verifier.query.listNotifications({ route: "commits", state: "delivered" })).notifications;
  await expect.poll(async () => (await told()).some(({ resolved }) => resolved > 0), POLL).toBe(true);
  expect(await mayRun(shop)).toBe(false);
  await expect.poll(posted, POLL).toBe(2);
  expect(github.statuses.map(({ state }) => state)).toEqual(["failure"]);
  // Built from it again, and signed this time: nothing is remembered of that image.
  const signed = await builtImage("shop", [{ "etc/signed": "x" }]);
  await signByKey(new OciRegistry(), signed, release.privateKey);
  expect(await mayRun(signed)).toBe(true);
  await expect.poll(() => github.statuses, POLL).toMatchObject([{ state: "success", description: "The cluster let it in" }]);
  expect(posted()).toBe(3);
  expect(pager.received).toEqual([]);
  expect(new Set(github.received.map(({ url }) => url))).toEqual(new Set([`/repos/acme/shop/statuses/${SHA}`]));
});
