/** `hullmark promote` between two real registries: into the second one only the promoter may push. */
import { hash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { MAX_MANIFEST_BYTES } from "@hullmark/verifier/ports/registry";
import { attestCommand } from "hullmark/commands/attest";
import { diffCommand } from "hullmark/commands/diff";
import { keygenCommand } from "hullmark/commands/keygen";
import { promoteCommand } from "hullmark/commands/promote";
import { signCommand } from "hullmark/commands/sign";
import { verifyCommand } from "hullmark/commands/verify";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { resourceReader, urlResources } from "../../cli/log/readers.ts";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { type Registry, startRegistry } from "../../deploy/testbed/registry.ts";
import { runCommand } from "../fakes/command-run.ts";
import { cosign, cosignKeyPair } from "../fakes/cosign.ts";
import { type PushedImage, pushImage, pushIndex } from "../fakes/images.ts";
import { never } from "../fakes/judging.ts";
import { TestVerifier } from "../fakes/verifier.ts";

/** bcrypt of PASSWORD. */
const USERS = "promoter:$2b$04$1vw7.Nna/oBQruGaOazcV.6SDzSps4nCNfoTRUonYXOE59WM1ISWy\n";
const PASSWORD = "only-the-promoter";
let bed: Testbed;
let guarded: Registry;
let home: string;
const file = (name: string) => join(home, name);

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-promote-"));
  bed = await startTestbed({ name: "promote", parts: { registry: true } });
  mkdirSync(file("guarded"));
  guarded = await startRegistry(file("guarded"), {}, "127.0.0.1", USERS);
  for (const who of ["promoter", "developer"]) mkdirSync(file(who));
  const auth = Buffer.from(`promoter:${PASSWORD}`).toString("base64");
  writeFileSync(file("promoter/config.json"), JSON.stringify({ auths: { [guarded.host]: { auth } } }), { mode: 0o600 });
  writeFileSync(file("developer/config.json"), "{}");
  for (const name of ["release", "gate", "other"]) expect(await run(keygenCommand, ["--prefix", file(name)])).toMatchObject({ code: 0 });
  writeFileSync(file("policy.yaml"), policy("**"));
});
afterAll(async () => {
  await guarded?.stop();
  await bed?.down();
  if (home) rmSync(home, { recursive: true, force: true });
});

const policy = (images: string) => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: gate }
spec:
  authorities: [{ name: release, keyFile: release.pub }]
  rules:
    - name: signed
      select: { images: ["${images}"] }
      require: { signatures: { authorities: [release] } }
`;

const run = (make: Parameters<typeof runCommand>[0], args: readonly string[], who = "promoter", env = {}) =>
  runCommand(make, args, { HOME: home, DOCKER_CONFIG: file(who), ...env }, Date.now);

const here = (name: string) => `${bed.registry?.host}/team/${name}`;
const there = (name: string) => `${guarded.host}/prod/${name}`;
const named = ({ repository, manifestDigest }: PushedImage) => `${repository}@${manifestDigest}`;
const promote = (source: string, destination: string, who = "promoter", file_ = "policy.yaml", more: readonly string[] = [], env = {}) =>
  run(
    promoteCommand,
    [source, destination, "--policy", file(file_), "--key", file("gate.key"), "--verifier", "https://gate.example", "-o", "json", ...more],
    who,
    env,
  );
const sign = (image: string, key = "release.key") => run(signCommand, [image, "--key", file(key)]);

function client(): OciRegistry {
  return new OciRegistry({ credentials: async (host) => (host === guarded.host ? { kind: "basic", username: "promoter", password: PASSWORD } : undefined) });
}

test("a signed image is copied with its signatures and attestations, ours and cosign's tags, and a summary that verifies", async () => {
  const image = await pushImage(here("app"), { tag: "1", layers: [{ "etc/a": "a" }, { "etc/b": "b".repeat(9_000_000) }] });
  expect(await sign(named(image))).toMatchObject({ code: 0 });
  writeFileSync(file("sbom.json"), JSON.stringify({ spdxVersion: "SPDX-2.3", SPDXID: "SPDXRef-DOCUMENT" }));
  expect(await run(attestCommand, [named(image), "--predicate", file("sbom.json"), "--type", "spdxjson", "--key", file("release.key")])).toMatchObject({
    code: 0,
  });
  const theirs = await cosignKeyPair("v2", home, "theirs");
  await cosign("v2", home, ["sign", "--tlog-upload=false", "--key", theirs.privateKey, named(image)]);

  const done = await promote(named(image), `${there("app")}:stable`);
  expect(done).toMatchObject({ code: 0, err: "" });
  expect(JSON.parse(done.out)).toMatchObject({
    image: `${there("app")}@${image.manifestDigest}`,
    tag: "stable",
    rule: "signed",
    subjects: [image.manifestDigest],
  });
  const copy = `${there("app")}@${image.manifestDigest}`;
  expect(await run(verifyCommand, [copy, "--key", file("release.pub"), "--attestation", "spdxjson"])).toMatchObject({ code: 0 });
  expect(await run(verifyCommand, [copy, "--key", theirs.publicKeyPath])).toMatchObject({ code: 0 });
  expect(await run(diffCommand, [named(image), `${there("app")}:stable`])).toMatchObject({ code: 0, out: expect.stringContaining("identical") });
  // The summary is the gate's, and no signature of the image.
  const summary = await run(verifyCommand, [copy, "--key", file("gate.pub"), "--attestation", "https://slsa.dev/verification_summary/v1", "-o", "json"]);
  expect(JSON.parse(summary.out)).toMatchObject({ signedBy: [], missingAttestations: [] });
  expect(await promote(named(image), `${there("app")}:stable`)).toMatchObject({ code: 0 });
});

test("nobody pushes but the promoter", async () => {
  const image = await pushImage(here("direct"), { tag: "1" });
  await sign(named(image));
  const refused = await promote(named(image), `${there("direct")}:1`, "developer");
  expect(refused).toMatchObject({ code: 3, out: "" });
  expect(refused.err).toMatch(/credentials/);
  await expect(client().manifest(there("direct"), "1", MAX_MANIFEST_BYTES, never)).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("what the policy does not accept is not copied: unsigned, by another key, no rule for the destination", async () => {
  const unsigned = await pushImage(here("unsigned"), { tag: "1", layers: [{ "etc/u": "u" }] });
  const other = await pushImage(here("other"), { tag: "1", layers: [{ "etc/o": "o" }] });
  const good = await pushImage(here("good"), { tag: "1", layers: [{ "etc/g": "g" }] });
  await sign(named(other), "other.key");
  await sign(named(good));
  for (const image of [unsigned, other])
    expect(await promote(named(image), `${there("refused")}:1`)).toMatchObject({ code: 1, out: "", err: expect.stringContaining("not promoted") });
  writeFileSync(file("elsewhere.yaml"), policy("elsewhere.example/*"));
  expect(await promote(named(good), `${there("refused")}:1`, "promoter", "elsewhere.yaml")).toMatchObject({ code: 1, err: expect.stringContaining("no rule") });
  await expect(client().manifest(there("refused"), unsigned.manifestDigest, MAX_MANIFEST_BYTES, never)).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("an index goes with all its platforms, and what signs one of them", async () => {
  const index = await pushIndex(here("multi"), "1", ["amd64", "arm64"]);
  const reference = `${index.repository}@${index.digest}`;
  const [amd64] = index.images;
  if (!amd64) throw new Error("no image");
  await sign(reference);
  await sign(named(amd64), "other.key");
  const done = await promote(`${here("multi")}:1`, `${there("multi")}:1`);
  expect(done).toMatchObject({ code: 0, err: "" });
  expect(JSON.parse(done.out).subjects).toHaveLength(3);
  expect(await run(verifyCommand, [`${there("multi")}:1`, "--platform", "linux/arm64", "--key", file("release.pub")])).toMatchObject({ code: 0 });
  expect(await run(verifyCommand, [`${there("multi")}@${amd64.manifestDigest}`, "--key", file("other.pub")])).toMatchObject({ code: 0 });
});

describe("a promotion that is to be recorded", () => {
  let verifier: TestVerifier;
  beforeAll(async () => {
    verifier = await new TestVerifier().start();
    writeFileSync(file("ca.crt"), verifier.ca);
    for (const role of ["viewer", "responder"] as const) {
      const { key, pem } = await verifier.certify((authority, spki) => authority.issueOperator(role, `gate-${role}`, spki, 3_600_000));
      writeFileSync(file(`${role}.key`), key);
      writeFileSync(file(`${role}.crt`), pem);
      writeFileSync(file(`${role}.yaml`), context(verifier.mainAddress, role));
    }
  });
  afterAll(() => verifier?.dispose());

  const context = (address: string, role: string) =>
    `currentContext: t\ncontexts: { t: { address: "${address}", caFile: ca.crt, certFile: ${role}.crt, keyFile: ${role}.key } }\n`;
  const recorded = (name: string, role: string) =>
    promote(`${here(name)}:1`, `${there(name)}:1`, "promoter", "policy.yaml", ["--record"], { HULLMARK_CONFIG: file(`${role}.yaml`) });

  test("is in the log, by whom, under which policy, and with which summary", async () => {
    const image = await pushImage(here("logged"), { tag: "1", layers: [{ "etc/l": "l" }] });
    await sign(named(image));
    const done = await recorded("logged", "responder");
    expect(done).toMatchObject({ code: 0, err: "" });
    const { summary } = JSON.parse(done.out) as { readonly summary: string };
    expect(JSON.parse(done.out)).toMatchObject({ recorded: true });
    const reader = resourceReader(urlResources(`http://127.0.0.1:${verifier.running?.httpPort}/log`));
    const entry = await vi.waitUntil(
      async () => {
        const size = Number((await reader.readNote())?.split("\n")[1] ?? 0);
        const entries = (await reader.readEntries(0, size)).map((bytes) => JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>);
        return entries.find(({ action }) => action === "promotion");
      },
      { timeout: 60_000, interval: 50 },
    );
    expect(entry).toEqual({
      ...{
        type: "admin",
        time: expect.any(String),
        action: "promotion",
        by: "gate-responder",
        source: `${here("logged")}:1`,
        destination: `${there("logged")}:1`,
      },
      ...{ image: image.manifestDigest, summary, policy: `sha256:${hash("sha256", policy("**"))}`, rule: "signed" },
    });
  });

  test("gets no tag where it may not be, or the verifier does not answer", async () => {
    const image = await pushImage(here("unlogged"), { tag: "1", layers: [{ "etc/n": "n" }] });
    await sign(named(image));
    writeFileSync(file("away.yaml"), context("127.0.0.1:1", "responder"));
    for (const role of ["viewer", "away"])
      expect(await recorded("unlogged", role)).toMatchObject({ code: 3, out: "", err: expect.stringContaining("could not be recorded") });
    await expect(client().manifest(there("unlogged"), "1", MAX_MANIFEST_BYTES, never)).rejects.toMatchObject({ code: "NOT_FOUND" });
    const fresh = await pushImage(here("uncopied"), { tag: "1", layers: [{ "etc/n": "c" }] });
    await sign(named(fresh));
    expect(await recorded("uncopied", "nobody")).toMatchObject({ code: 2, out: "" });
    await expect(client().manifest(there("uncopied"), fresh.manifestDigest, MAX_MANIFEST_BYTES, never)).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  test.each([{ imageDigest: "sha256:short" }, { summaryDigest: "" }, { policySha256: `sha256:${"a".repeat(64)}` }, { rule: "" }, { source: "a".repeat(513) }])(
    "as %j is not recorded",
    async (wrong) => {
      const digest = `sha256:${"a".repeat(64)}`;
      const right = { source: "a", destination: "b:1", imageDigest: digest, summaryDigest: digest, policySha256: "a".repeat(64), rule: "signed" };
      await expect(verifier.adminClient.recordPromotion({ ...right, ...wrong })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    },
  );
});

test("a destination has no digest, and the key must be there", async () => {
  const image = await pushImage(here("usage"), { tag: "1" });
  await sign(named(image));
  expect(await promote(named(image), `${there("usage")}:1@${image.manifestDigest}`)).toMatchObject({ code: 2, out: "" });
  const noKey = await run(promoteCommand, [
    named(image),
    `${there("usage")}:1`,
    "--policy",
    file("policy.yaml"),
    "--key",
    file("none"),
    "--verifier",
    "https://gate.example",
  ]);
  expect(noKey).toMatchObject({ code: 3, out: "" });
});
