/** What policy says of signers takes effect on what runs: as soon as the file is saved, without a restart and without another request to the registry. */
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { DriftState, ProvenanceStatus } from "@hullmark/proto/v1/query";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { SIGN_PREDICATE_TYPE } from "@hullmark/verifier/core/provenance/index";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { afterAll, beforeAll, expect, test } from "vitest";
import { attachBundle, attachTag } from "../fakes/attach.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { TestSigstore } from "../fakes/sigstore/index.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const ISSUER = "https://issuer.example";
const PIPELINE = { subject: "https://github.com/acme/web/.github/workflows/release.yml@refs/tags/v1", issuer: ISSUER };
const OLD_PIPELINE = { subject: "https://ci.acme.example/jobs/web", issuer: ISSUER };
let verifier: TestVerifier;
let registry: FakeRegistry;
let client: OciRegistry;
let sigstore: TestSigstore;
let web: PushedImage;
let old: PushedImage;
const bare = generateKeyPairSync("ed25519");

beforeAll(async () => {
  registry = await startFakeRegistry();
  client = new OciRegistry();
  sigstore = await TestSigstore.create();
  web = await pushImage(`${registry.host}/acme/web`);
  old = await pushImage(`${registry.host}/acme/old`, { layers: [{ "etc/app.conf": "port=8\n" }] });
  const statement = {
    _type: "https://in-toto.io/Statement/v1",
    subject: [{ digest: { sha256: web.manifestDigest.slice(7) } }],
    predicateType: SIGN_PREDICATE_TYPE,
    predicate: {},
  };
  await attachBundle(client, web, await sigstore.bundle(Buffer.from(JSON.stringify(statement)), PIPELINE));
  const simple = { critical: { identity: {}, image: { "docker-manifest-digest": old.manifestDigest }, type: "cosign container image signature" } };
  await attachTag(client, old, await sigstore.tagSignature(Buffer.from(JSON.stringify(simple)), OLD_PIPELINE));
  verifier = new TestVerifier();
  writeFileSync(join(verifier.directory, "trusted_root.json"), sigstore.trustedRoot());
  await verifier.start(`policyFile: ${policy()}\nenrolment: { mode: tofu, acceptWithoutCertificate: true }`);
  const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await attester.connect();
  for (const [name, image] of [
    ["web", web],
    ["old", old],
  ] as const) {
    const tree = LayerTree.build([]);
    attester.set({
      ...{ id: name.padEnd(64, "0"), name, image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest } },
      layers: [
        { id: `layer-${name}`, tree },
        { id: `init-${name}`, tree: dockerInitLayer(MergedTree.of([tree])), runtimeMade: true },
      ],
      upper: new Map(),
    });
  }
  await attester.report();
});
afterAll(async () => {
  await verifier?.dispose();
  client?.close();
  await registry?.close();
  sigstore?.close();
});

/** Saves the policy. @param more under `spec` */
function policy(
  more = "",
  authority = `keyless: { trustRoot: test, issuer: ${ISSUER}, subjectGlob: "https://github.com/acme/*/.github/workflows/*@refs/tags/*" }`,
): string {
  return verifier.policy(`apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: running }
spec:
  trustRoots: [{ name: test, file: trusted_root.json }]
  authorities:
    - name: pipeline
      anyOf:
        - ${authority}
        - { keyless: { trustRoot: test, issuer: ${ISSUER}, subject: ${OLD_PIPELINE.subject} }, validUntil: 2040-01-01T00:00:00Z }
    - { name: spare, key: ${JSON.stringify(bare.publicKey.export({ type: "spki", format: "pem" }))} }
  rules:
    - name: all
      require: { signatures: { authorities: [pipeline] } }
      allow: { env: ["**"], mounts: ["/**"], args: true, users: ["**"] }
${more}`);
}

const provenance = async (name: string) => (await verifier.query.getWorkload({ container: name })).workload?.provenance;
const reaches = (name: string, status: ProvenanceStatus) =>
  expect.poll(async () => (await provenance(name))?.status, { timeout: 10_000, interval: 50 }).toBe(status);
const drifts = async (kind: string) => (await verifier.query.listDrift({})).drifts.filter((drift) => drift.kind === kind);

test("signatures by certificate of running images are seen, in the older and the newer layout", async () => {
  await reaches("web", ProvenanceStatus.SIGNED);
  await reaches("old", ProvenanceStatus.SIGNED);
  expect(await provenance("web")).toMatchObject({ text: "signed by pipeline", authorities: ["pipeline"] });
});

test("a revoked identity, and one that is withdrawn again, take effect without another request", async () => {
  const before = registry.requests.length;
  policy(`  revocations: [{ reason: token leaked, identity: { issuer: ${ISSUER}, subject: ${PIPELINE.subject} } }]`);
  await reaches("web", ProvenanceStatus.REVOKED);
  await expect.poll(() => drifts("revoked"), { timeout: 10_000 }).toMatchObject([{ containerName: "web", summary: expect.stringContaining("token leaked") }]);
  expect((await provenance("web"))?.text).toContain("Would do: sign");
  expect((await provenance("old"))?.status).toBe(ProvenanceStatus.SIGNED);
  const [drift] = await drifts("revoked");
  policy();
  await reaches("web", ProvenanceStatus.SIGNED);
  await expect.poll(async () => (await verifier.query.getDrift({ id: drift?.id ?? "" })).drift?.state, { timeout: 10_000 }).toBe(DriftState.RESOLVED);
  expect(registry.requests.length).toBe(before);
});

test("a revoked digest bars the image, also by its config's digest", async () => {
  policy(`  revocations: [{ reason: CVE-2026-1, digest: ${web.manifestDigest} }, { reason: CVE-2026-2, digest: ${old.configDigest} }]`);
  await reaches("web", ProvenanceStatus.REVOKED);
  await reaches("old", ProvenanceStatus.REVOKED);
  expect((await provenance("old"))?.text).toContain("digest revoked: CVE-2026-2");
  policy();
  await reaches("web", ProvenanceStatus.SIGNED);
});

test("a revoked index bars the image of it that was started by its own digest", async () => {
  const { repository, manifestDigest, manifestBytes } = web;
  const type = "application/vnd.oci.image.index.v1+json";
  const entry = {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: manifestDigest,
    size: manifestBytes.length,
    platform: { os: "linux", architecture: "amd64" },
  };
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: type, manifests: [entry] }));
  const digest = await client.pushManifest(repository, "all", type, bytes, new AbortController().signal);
  policy(`  revocations: [{ reason: built on a bad runner, digest: "${digest}" }]`);
  await reaches("web", ProvenanceStatus.REVOKED);
  expect((await provenance("web"))?.text).toContain("built on a bad runner");
  expect((await provenance("old"))?.status).toBe(ProvenanceStatus.SIGNED);
  policy();
  await reaches("web", ProvenanceStatus.SIGNED);
});

test("an authority whose identity is exchanged no longer vouches for what the former signed", async () => {
  policy("", `keyless: { trustRoot: test, issuer: ${ISSUER}, subject: somebody@else.example }`);
  await reaches("web", ProvenanceStatus.WRONG_KEY);
  expect((await provenance("web"))?.text).toContain(`it is by ${PIPELINE.subject}`);
  await reaches("old", ProvenanceStatus.SIGNED);
});

test("a policy with a mistake changes nothing that is in force", async () => {
  policy();
  await reaches("web", ProvenanceStatus.SIGNED);
  policy("  revocations: [{ reason: half written, identity: { issuer: x } }]");
  await expect.poll(async () => (await verifier.query.getStatus({})).claims.map(({ code }) => code), { timeout: 10_000 }).toContain("policy-not-loaded");
  expect((await provenance("web"))?.status).toBe(ProvenanceStatus.SIGNED);
});
