/** What policy says of signers takes effect on what runs: as soon as the file is saved, without a restart; what turns bad by it is told once the registry was asked again. */

import { execFileSync } from "node:child_process";
import { generateKeyPairSync, hash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeRecord } from "@hullmark/proto/codec";
import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState, ProvenanceStatus, Query, type SimulatePolicyRequest } from "@hullmark/proto/v1/query";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { policySimulator } from "@hullmark/verifier/api/grpc/simulate";
import { defaultPolicy } from "@hullmark/verifier/core/policy/default";
import { SIGN_PREDICATE_TYPE, SLSA_V1 } from "@hullmark/verifier/core/provenance/index";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { attachBundle, attachTag } from "../fakes/attach.ts";
import type { Attester } from "../fakes/attester.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { TestSigstore } from "../fakes/sigstore/index.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const ISSUER = "https://issuer.example";
const PIPELINE = { subject: "https://github.com/acme/web/.github/workflows/release.yml@refs/tags/v1", issuer: ISSUER };
const OLD_PIPELINE = { subject: "https://ci.acme.example/jobs/web", issuer: ISSUER };
let verifier: TestVerifier;
let attester: Attester;
let registry: FakeRegistry;
let client: OciRegistry;
let sigstore: TestSigstore;
let web: PushedImage;
let old: PushedImage;
/** A repository of four commits, of which `old` was built from the second. */
let sources: string;
const git = (...args: string[]) =>
  execFileSync("git", ["-C", sources, "-c", "user.name=t", "-c", "user.email=t@example.org", ...args], { encoding: "utf8" }).trim();
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
  sources = join(verifier.directory, "sources");
  mkdirSync(sources);
  git("init", "--quiet", "--initial-branch=main");
  git("remote", "add", "origin", "git@git.example:acme/old.git");
  for (const message of ["one", "two", "three", "four"]) git("commit", "--quiet", "--allow-empty", "-m", message);
  const uri = "git+https://git.example/acme/old@refs/heads/main";
  const predicate = {
    buildDefinition: { buildType: "https://builder.example/v1", resolvedDependencies: [{ uri, digest: { gitCommit: git("rev-parse", "HEAD~2") } }] },
    runDetails: { builder: { id: "https://builder.example" } },
  };
  const built = { ...statement, subject: [{ digest: { sha256: old.manifestDigest.slice(7) } }], predicateType: SLSA_V1, predicate };
  await attachBundle(client, old, await sigstore.bundle(Buffer.from(JSON.stringify(built)), PIPELINE));
  writeFileSync(join(verifier.directory, "trusted_root.json"), sigstore.trustedRoot());
  await verifier.start(`policyFile: ${policy()}\nenrolment: { mode: tofu, acceptWithoutCertificate: true }`);
  attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
  await attester.connect();
  for (const [name, image, conf] of [
    ["web", web, "port=80\n"],
    ["old", old, "port=8\n"],
  ] as const) {
    const file = { type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(conf.length), sha256: hash("sha256", conf, "buffer") } as const;
    const tree = LayerTree.build([
      { path: Buffer.from("etc"), record: encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false }), implied: true },
      { path: Buffer.from("etc/app.conf"), record: encodeRecord(file), implied: false },
    ]);
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

const TRUSTED = `keyless: { trustRoot: test, issuer: ${ISSUER}, subjectGlob: "https://github.com/acme/*/.github/workflows/*@refs/tags/*" }`;

/** Saves the policy. @param more under `spec` */
function policy(more = "", authority = TRUSTED): string {
  return verifier.policy(policyText(more, authority));
}

function policyText(more = "", authority = TRUSTED, require = "signatures: { authorities: [pipeline] }"): string {
  return `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: running }
spec:
  intervals: { heartbeat: 5m, quote: 1h }
  trustRoots: [{ name: test, file: trusted_root.json }]
  authorities:
    - name: pipeline
      anyOf:
        - ${authority}
        - { keyless: { trustRoot: test, issuer: ${ISSUER}, subject: ${OLD_PIPELINE.subject} }, validUntil: 2040-01-01T00:00:00Z }
    - { name: spare, key: ${JSON.stringify(bare.publicKey.export({ type: "spki", format: "pem" }))} }
  rules:
    - name: all
      require: { ${require} }
      allow: { env: ["**"], mounts: ["/**"], args: true, users: ["**"] }
${more}`;
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

test("a revoked identity takes effect once what is attached by now was read, one that is withdrawn again without another request", async () => {
  const before = registry.requests.length;
  policy(`  revocations: [{ reason: token leaked, identity: { issuer: ${ISSUER}, subject: ${PIPELINE.subject} } }]`);
  await reaches("web", ProvenanceStatus.REVOKED);
  await expect.poll(() => drifts("revoked"), { timeout: 10_000 }).toMatchObject([{ containerName: "web", summary: expect.stringContaining("token leaked") }]);
  expect((await provenance("web"))?.text).toContain("Would do: sign");
  expect((await provenance("old"))?.status).toBe(ProvenanceStatus.SIGNED);
  const [drift] = await drifts("revoked");
  const asked = registry.requests.slice(before).filter((line) => line.includes("/acme/web/"));
  expect(asked.length, "tags and lists alone, what a digest names is kept").toBeLessThan(8);
  expect(registry.requests.slice(before)).toEqual(asked);
  policy();
  const after = registry.requests.length;
  await reaches("web", ProvenanceStatus.SIGNED);
  await expect.poll(async () => (await verifier.query.getDrift({ id: drift?.id ?? "" })).drift?.state, { timeout: 10_000 }).toBe(DriftState.RESOLVED);
  expect(registry.requests.length).toBe(after);
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

describe("a policy that is simulated", () => {
  const REVOKED = `  revocations: [{ reason: token leaked, identity: { issuer: ${ISSUER}, subject: ${PIPELINE.subject} } }]`;
  const simulate = (text: string, files = { "trusted_root.json": sigstore.trustedRoot() }) => verifier.query.simulatePolicy({ policy: text, files });
  const results = async () => {
    const { workloads } = await verifier.query.listWorkloads({});
    return Object.fromEntries(
      workloads.map(({ containerName, verdict, content, provenance }) => [containerName, { verdict, content, provenance: provenance?.status }]),
    );
  };
  const found = async () => (await verifier.query.listDrift({ states: [DriftState.OPEN, DriftState.RESOLVED] })).drifts.map(({ id, state }) => [id, state]);

  const GOOD = { verdict: Verdict.AFFIRMING, content: Verdict.AFFIRMING, provenance: ProvenanceStatus.SIGNED };

  /** What the simulation says of each container is what comes of it once the policy is saved, and nothing came of it before. */
  async function comesTrue(text: string): Promise<Awaited<ReturnType<typeof simulate>>> {
    policy();
    await expect.poll(results, { timeout: 60_000, interval: 50 }).toEqual({ old: GOOD, web: GOOD });
    const [before, known] = [await results(), await found()];
    const answer = await simulate(text);
    expect(await results()).toEqual(before);
    expect(await found()).toEqual(known);
    const told = answer.workloads.map(({ containerName, after }) => [
      containerName,
      { verdict: after?.verdict, content: after?.content, provenance: after?.provenance },
    ]);
    for (const { containerName, before: is } of answer.workloads)
      expect({ verdict: is?.verdict, content: is?.content, provenance: is?.provenance }).toEqual(before[containerName]);
    verifier.policy(text);
    await expect.poll(results, { timeout: 60_000, interval: 50 }).toEqual({ ...before, ...Object.fromEntries(told) });
    return answer;
  }

  test("says what comes once it is saved: a revoked identity", async () => {
    const answer = await comesTrue(policyText(REVOKED));
    expect(answer).toMatchObject({ containers: 2, containersChanged: 1, containersFailed: 0, nodes: 1, nodesAway: 0, nodesRemeasured: 0, changedNodes: [] });
    const [web] = answer.workloads;
    expect(web).toMatchObject({
      nodeName: "w-1",
      containerName: "web",
      before: { verdict: Verdict.AFFIRMING, rule: "all" },
      after: { verdict: Verdict.CONTRAINDICATED },
    });
    expect(web?.after?.provenanceText).toContain("token leaked");
    expect(web?.findings).toMatchObject([{ place: "image", kind: "revoked", before: 0, after: Severity.CRITICAL }]);
    expect(web?.findingsChanged).toBe(1);
  });

  test("a revoked index that nobody has looked for yet", async () => {
    const type = "application/vnd.oci.image.index.v1+json";
    const entry = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: web.manifestDigest, size: web.manifestBytes.length };
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: type, manifests: [entry], annotations: { of: "simulation" } }));
    const digest = await client.pushManifest(web.repository, "simulated", type, bytes, new AbortController().signal);
    const answer = await comesTrue(policyText(`  revocations: [{ reason: built on a bad runner, digest: "${digest}" }]`));
    expect(answer.workloads).toMatchObject([{ containerName: "web", after: { provenance: ProvenanceStatus.REVOKED } }]);
  });

  test("an authority exchanged, another thing asked for, and a rule that selects less", async () => {
    const exchanged = await comesTrue(policyText("", `keyless: { trustRoot: test, issuer: ${ISSUER}, subject: somebody@else.example }`));
    expect(exchanged.workloads).toMatchObject([{ containerName: "web", after: { provenance: ProvenanceStatus.WRONG_KEY } }]);
    const asked = await comesTrue(policyText("", TRUSTED, "readOnlyRoot: true"));
    expect(asked.workloads).toHaveLength(2);
    for (const { findings } of asked.workloads) expect(findings).toMatchObject([{ place: "configuration", kind: "read-only-root", before: 0 }]);
    const less = policyText().replace(OLD_PIPELINE.subject, "nobody@else.example");
    const selected = await comesTrue(less.replace("- name: all\n", '- name: all\n      select: { containers: ["web"] }\n'));
    const [old] = selected.workloads;
    expect(old).toMatchObject({ containerName: "old", before: { rule: "all" }, after: { rule: "", provenance: ProvenanceStatus.WRONG_KEY }, findings: [] });
  });

  test("tells what would be found no more, or be graver or less", async () => {
    await comesTrue(policyText(REVOKED));
    await expect.poll(async () => (await drifts("revoked")).length, { timeout: 60_000 }).toBe(1);
    const milder = await simulate(policyText(`${REVOKED}\n  severities: { revoked: low }`));
    expect(milder.workloads).toMatchObject([
      { after: { verdict: Verdict.WARNING }, findings: [{ kind: "revoked", before: Severity.CRITICAL, after: Severity.LOW }] },
    ]);
    const taken = await simulate(policyText());
    expect(taken.workloads).toMatchObject([{ after: { verdict: Verdict.AFFIRMING }, findings: [{ kind: "revoked", before: Severity.CRITICAL, after: 0 }] }]);
    expect((await provenance("web"))?.status).toBe(ProvenanceStatus.REVOKED);
    policy();
    await reaches("web", ProvenanceStatus.SIGNED);
  });

  test("says which nodes it would judge otherwise, and where it cannot tell", async () => {
    const booted = await simulate(policyText("  nodes: [{ name: pool, boot: { eventLog: required } }]"));
    expect(booted).toMatchObject({
      containersChanged: 0,
      changedNodes: [{ nodeName: "w-1", before: Verdict.WARNING, reasons: [expect.stringContaining("event")] }],
    });
    const measured = await simulate(policyText('  mutable: [{ name: logs, class: data, paths: ["/var/log/**"] }]'));
    expect(measured).toMatchObject({ containersChanged: 0, nodesRemeasured: 1 });
  });

  test("must be one that would be taken over, with the files that it names, and is asked for by responders", async () => {
    for (const [text, files, said] of [
      ["", {}, "want the text"],
      [policyText("  surprise: 1"), { "trusted_root.json": sigstore.trustedRoot() }, "unknown key"],
      [policyText(), {}, "it was not sent along"],
      [policyText(), Object.fromEntries(Array.from({ length: 257 }, (_, i) => [`${i}`, ""])), "at most 256 files"],
    ] as const)
      await expect(verifier.query.simulatePolicy({ policy: text, files })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining(said),
      });
    const viewer = (await verifier.operator("viewer")).client(Query);
    await expect(viewer.simulatePolicy({ policy: policyText() })).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
    const responder = (await verifier.operator("responder")).client(Query);
    expect(await responder.simulatePolicy({ policy: policyText(), files: { "trusted_root.json": sigstore.trustedRoot() } })).toMatchObject({
      containersChanged: 0,
    });
  });

  test("one at a time: while one is simulated not even the text of another is read", async () => {
    const { promise, reject } = Promise.withResolvers<never>();
    const simulator = policySimulator({ policy: defaultPolicy, composed: (given) => given, simulate: () => promise, members: () => 0 });
    const signal = new AbortController().signal;
    const asking = (policy: string) => simulator({ policy, files: {} } as unknown as SimulatePolicyRequest, signal);
    const first = asking("apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec: {}\n");
    await expect(asking("no policy")).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED", detail: { reason: "BUSY" } });
    reject(new Error("over"));
    await expect(first).rejects.toThrow("over");
    await expect(asking("no policy")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("on the command line: a page or data, and how it ends", async () => {
    const file = join(verifier.directory, "next.yaml");
    const command = await hullmarkOf(verifier);
    const hullmark = async (text: string, ...more: string[]) => {
      writeFileSync(file, text);
      return await command("policy", "simulate", file, ...more);
    };
    expect(await hullmark(policyText())).toMatchObject({ code: 0, out: "0 of 2 containers on 1 node would be judged otherwise\n" });
    const changed = await hullmark(policyText(REVOKED));
    expect(changed).toMatchObject({ code: 1, err: "" });
    expect(changed.out).toMatch(
      /^1 of 2 .*\nw-1\/web.* {2}affirming → contraindicated, signed → revoked, rule all\n {2}\+ crit {2}image\/revoked .*token leaked/,
    );
    const data = JSON.parse((await hullmark(policyText(REVOKED), "-o", "json")).out) as { workloads: unknown[] };
    expect(data).toMatchObject({
      containers: 2,
      workloads: [{ container: { name: "web" }, before: { provenance: { status: "signed" } }, findings: [{ before: null, after: "crit" }] }],
    });
    expect(await hullmark(policyText('  mutable: [{ name: logs, class: data, paths: ["/var/log/**"] }]'))).toMatchObject({ code: 3 });
    expect(await hullmark(policyText("  surprise: 1"))).toMatchObject({ code: 2, err: expect.stringContaining("unknown key") });

    // What it cannot tell is not clean: whether an index that nobody has looked for is an image's, and what no registry knows of.
    const leaked = policyText(`  revocations: [{ reason: leaked, digest: "sha256:${"5".repeat(64)}" }]`);
    registry.fault = ({ url }, response) => {
      const refused = url?.includes("5".repeat(64)) === true;
      if (refused) response.writeHead(403).end();
      return refused;
    };
    expect(await hullmark(leaked)).toMatchObject({ code: 3, out: expect.stringMatching(/^0 of 2 .*\ncannot be told: 2 containers/) });
    registry.fault = () => false;
    expect(await hullmark(leaked)).toMatchObject({ code: 0, out: "0 of 2 containers on 1 node would be judged otherwise\n" });
    const id = "nowhere".padEnd(64, "0");
    const image = { reference: `${registry.host}/acme/none:1`, configDigest: `sha256:${"1".repeat(64)}` };
    attester.set({ id, name: "nowhere", image, layers: [], upper: new Map() });
    await attester.report([id]);
    expect(await hullmark(policyText())).toMatchObject({ code: 3, out: expect.stringMatching(/^0 of 3 .*\ncannot be told: 1 container of/) });
    attester.containers.delete(id);
    await attester.report([], [id]);
  });
});

test("what is signed and was found in no registry that is allowed is told, with what would do", async () => {
  verifier.policy(policyText("", TRUSTED, 'signatures: { authorities: [pipeline] }, registries: ["registry.example/**"]'));
  await reaches("web", ProvenanceStatus.ATTESTATION_MISSING);
  expect((await provenance("web"))?.text).toMatch(/found in .*\/acme\/web, .*Asked for: registries: registry\.example\/\*\*\. Would do: copy it/);
  verifier.policy(policyText("", TRUSTED, `signatures: { authorities: [pipeline] }, registries: ["${registry.host}/acme/*"]`));
  await reaches("web", ProvenanceStatus.SIGNED);
  await reaches("old", ProvenanceStatus.SIGNED);
});

test("what is signed and built on no base that is allowed, or on one that is trusted no more, is told as soon as the policy says so", async () => {
  const asking = (...chains: readonly (string | undefined)[]) => `signatures: { authorities: [pipeline] }, baseLayers: ${JSON.stringify(chains)}`;
  verifier.policy(policyText("", TRUSTED, asking(web.diffIds[0])));
  await reaches("web", ProvenanceStatus.SIGNED);
  await reaches("old", ProvenanceStatus.ATTESTATION_MISSING);
  expect((await provenance("old"))?.text).toMatch(/built on none of the bases that are allowed.*Asked for: baseLayers: sha256:/);
  verifier.policy(policyText(`  revocations: [{ reason: bad libc, layers: "${web.diffIds[0]}" }]`));
  await reaches("web", ProvenanceStatus.REVOKED);
  expect((await provenance("web"))?.text).toContain("base revoked: bad libc");
  policy();
  await reaches("web", ProvenanceStatus.SIGNED);
  await reaches("old", ProvenanceStatus.SIGNED);
});

test("what was built from a range of commits that is revoked counts no more as soon as the command has written it", async () => {
  const file = policy(
    `  # Whom we no longer trust.\n  revocations: [{ reason: key lost, key: ${JSON.stringify(bare.publicKey.export({ type: "spki", format: "pem" }))} }]`,
  );
  await reaches("old", ProvenanceStatus.SIGNED);
  const command = await hullmarkOf(verifier);
  const revoke = (range: string, ...more: string[]) =>
    command("policy", "revoke", file, "--repo", sources, "--commits", range, "--reason", "backdoor", ...more);
  const before = readFileSync(file, "utf8");
  for (const [range, code, said] of [
    ["HEAD..HEAD~1", 2, "holds no commit"],
    ["HEAD", 2, "want GOOD..BAD"],
    ["--all..HEAD", 2, "want GOOD..BAD"],
    ["nothing..HEAD", 3, "git rev-list"],
  ] as const)
    expect(await revoke(range), range).toMatchObject({ code, out: "", err: expect.stringContaining(said) });
  expect(await revoke("HEAD~1..HEAD", "--since", "yesterday")).toMatchObject({ code: 2, out: "" });
  execFileSync("git", ["clone", "--quiet", "--depth=1", `file://${sources}`, `${sources}-cut`]);
  expect(await revoke("HEAD~1..HEAD", "--repo", `${sources}-cut`)).toMatchObject({ code: 3, err: expect.stringContaining("part of the history") });
  expect(readFileSync(file, "utf8")).toBe(before);

  expect(await revoke("HEAD~1..HEAD")).toMatchObject({ code: 0, out: expect.stringContaining("1 commits of https://git.example/acme/old revoked") });
  expect(await revoke("HEAD~3..HEAD~1", "--repository", "https://git.example/acme/other")).toMatchObject({ code: 0 });
  expect(readFileSync(file, "utf8")).toContain("# Whom we no longer trust.");
  expect((await command("policy", "simulate", file)).out).toMatch(/^0 of 2 /);
  expect(await revoke("HEAD~3..HEAD~1")).toMatchObject({ code: 0, err: "" });
  await reaches("old", ProvenanceStatus.REVOKED);
  expect((await provenance("old"))?.text).toContain("commit revoked: backdoor");
  expect((await provenance("web"))?.status).toBe(ProvenanceStatus.SIGNED);
  const printed = await command("policy", "revoke", "--repo", sources, "--commits", "HEAD~3..HEAD", "--reason", "backdoor");
  expect(printed.out).toContain(git("rev-parse", "HEAD"));
  policy();
  await reaches("old", ProvenanceStatus.SIGNED);
});

test("a policy with a mistake changes nothing that is in force", async () => {
  policy();
  await reaches("web", ProvenanceStatus.SIGNED);
  policy("  revocations: [{ reason: half written, identity: { issuer: x } }]");
  await expect.poll(async () => (await verifier.query.getStatus({})).claims.map(({ code }) => code), { timeout: 10_000 }).toContain("policy-not-loaded");
  expect((await provenance("web"))?.status).toBe(ProvenanceStatus.SIGNED);
});
