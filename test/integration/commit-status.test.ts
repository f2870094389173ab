/** A drift of an image whose signed provenance names a commit is a failed status there, until it is over; what another names is not asked of anybody. */
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { attestCommand } from "hullmark/commands/attest";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Github } from "../fakes/code-hosts.ts";
import { runCommand } from "../fakes/command-run.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { pushImage } from "../fakes/images.ts";
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

test("a commit fails while what was built from it differs where it runs", async () => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const key = join(verifier.directory, "ci.key");
  writeFileSync(key, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  const origin = github.url.replace("http:", "https:");
  const images = [];
  for (const name of ["shop", "other"]) {
    const image = await pushImage(`${registry.host}/acme/${name}`, name === "shop" ? {} : { layers: [{ "etc/app.conf": "port=80\n", "etc/other": "x" }] });
    const predicate = join(verifier.directory, `${name}.json`);
    const dependency = { uri: `git+${origin}/acme/${name}@refs/heads/main`, digest: { gitCommit: SHA } };
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
    await signByKey(new OciRegistry(), image, privateKey);
    images.push(image);
  }
  const secrets = join(verifier.directory, "alert-secrets");
  mkdirSync(secrets);
  writeFileSync(join(secrets, "github-token"), `${Github.TOKEN}\n`);
  const policy = {
    ...{ apiVersion: "hullmark.dev/v1", kind: "Policy", metadata: { name: "p" } },
    spec: {
      authorities: [{ name: "ci", key: publicKey.export({ type: "spki", format: "pem" }) }],
      rules: [{ name: "all", require: { build: { authorities: ["ci"] } }, allow: { env: ["**"], args: true } }],
      alerts: {
        routes: [
          {
            name: "commits",
            type: "commit-status",
            service: "github",
            url: github.url,
            token: { fromFile: "github-token" },
            repositories: [`${origin}/acme/shop`],
          },
        ],
      },
    },
  };
  await verifier.start(
    `enrolment: { mode: tofu, acceptWithoutCertificate: true }\nalertSecretsDirectory: ${secrets}\npolicyFile: ${verifier.policy(JSON.stringify(policy))}`,
  );
  const node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await node.connect();
  const [shop, other] = images;
  if (!shop || !other) throw new Error("no images");
  node.set(scriptedWeb(shop, 1, ["etc/added"]));
  node.set(scriptedWeb(other, 2, ["etc/added"]));
  await node.report();
  await expect.poll(() => github.statuses, POLL).toMatchObject([{ repository: "acme/shop", sha: SHA, context: "hullmark/web-1", state: "failure" }]);
  expect(github.statuses[0]?.description).toMatch(/^medium added \/etc\/added on 1 node: hullmark incident show I-/);
  // Of the other image there is something to say too, and of whom the route does not list nobody is told.
  await expect
    .poll(async () => (await verifier.query.listDrift({})).drifts.map(({ provenance }) => provenance?.sourceRepository), POLL)
    .toContain(`${origin}/acme/other`);
  expect((await (await hullmarkOf(verifier))("alert", "test", "commits")).out).toMatch(/commits \(commit-status\): taken/);
  // The end of it is told, and nothing else ever was.
  node.set(scriptedWeb(shop, 1, []));
  await node.report();
  await expect.poll(() => github.statuses.map(({ state }) => state), POLL).toEqual(["success"]);
  expect(new Set(github.received.map(({ url }) => url))).toEqual(new Set([`/repos/acme/shop/statuses/${SHA}`, "/rate_limit"]));
});
