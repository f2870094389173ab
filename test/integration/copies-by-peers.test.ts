/** Released crane and oras on a real registry, which has no referrers API: what of an image's signatures goes along when they copy it, and what they make of what we attach. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attestCommand } from "hullmark/commands/attest";
import { keygenCommand } from "hullmark/commands/keygen";
import { promoteCommand } from "hullmark/commands/promote";
import { signCommand } from "hullmark/commands/sign";
import { verifyCommand } from "hullmark/commands/verify";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { runCommand } from "../fakes/command-run.ts";
import { copyTool } from "../fakes/copy-tools.ts";
import { type CosignKey, cosign, cosignKeyPair } from "../fakes/cosign.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { startFakeRegistry } from "../fakes/registry.ts";

const BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json";
let bed: Testbed;
let home: string;
let v2: CosignKey;
let v3: CosignKey;
let serial = 0;
const file = (name: string) => join(home, name);

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-copies-"));
  bed = await startTestbed({ name: "copies", parts: { registry: true } });
  for (const name of ["release", "gate"]) expect(await run(keygenCommand, ["--prefix", file(name)])).toMatchObject({ code: 0 });
  v2 = await cosignKeyPair("v2", home, "v2");
  v3 = await cosignKeyPair("v3", home, "v3");
  writeFileSync(file("sbom.json"), JSON.stringify({ spdxVersion: "SPDX-2.3", SPDXID: "SPDXRef-DOCUMENT" }));
});
afterAll(async () => {
  await bed?.down();
  if (home) rmSync(home, { recursive: true, force: true });
});

const run = (make: Parameters<typeof runCommand>[0], args: readonly string[]) => runCommand(make, args, { HOME: home, DOCKER_CONFIG: home }, Date.now);
const crane = (...args: string[]) => copyTool("crane", home, args);
const oras = (...args: string[]) => copyTool("oras", home, args);
const repository = (name: string) => `${bed.registry?.host}/team/${name}`;
const named = ({ repository: of, manifestDigest }: PushedImage) => `${of}@${manifestDigest}`;
const newImage = () => pushImage(repository(`app${serial++}`), { tag: "1", layers: [{ "etc/serial": String(serial) }] });
const fallbackTag = ({ manifestDigest }: PushedImage) => manifestDigest.replace(":", "-");

const verify = async (image: string, key: string, ...more: string[]) => {
  const { code, out } = await run(verifyCommand, [image, "--key", key, "-o", "json", ...more]);
  return { code, ...(JSON.parse(out) as { readonly status: string; readonly text: string }) };
};

/** Signed and attested by us, signed by cosign v2 under its tag and by cosign v3 as a referrer. */
async function signedImage(): Promise<PushedImage> {
  const image = await newImage();
  expect(await run(signCommand, [named(image), "--key", file("release.key")])).toMatchObject({ code: 0 });
  const attested = await run(attestCommand, [named(image), "--predicate", file("sbom.json"), "--type", "spdxjson", "--key", file("release.key")]);
  expect(attested).toMatchObject({ code: 0 });
  await cosign("v2", home, ["sign", "--tlog-upload=false", "--key", v2.privateKey, named(image)]);
  await cosign("v3", home, ["sign", "--use-signing-config=false", "--tlog-upload=false", "--key", v3.privateKey, named(image)]);
  return image;
}

interface Referrer {
  readonly artifactType: string;
  readonly digest: string;
}
async function discovered(image: string): Promise<readonly Referrer[]> {
  const found = JSON.parse(await oras("discover", "--plain-http", "--format", "json", image)) as { readonly referrers?: readonly Referrer[] };
  return found.referrers ?? [];
}

test("crane copies the image alone, which is unsigned there until its signatures are brought after, by their tags", async () => {
  const image = await signedImage();
  const there = repository("by-crane");
  const copy = `${there}@${image.manifestDigest}`;
  await crane("copy", named(image), `${there}:1`);
  expect(await crane("digest", `${there}:1`)).toBe(image.manifestDigest);
  for (const key of [file("release.pub"), v2.publicKeyPath, v3.publicKeyPath]) expect(await verify(copy, key)).toMatchObject({ code: 1, status: "unsigned" });

  await crane("copy", `${image.repository}:${fallbackTag(image)}`, `${there}:${fallbackTag(image)}`);
  expect(await verify(copy, file("release.pub"), "--attestation", "spdxjson")).toMatchObject({ code: 0, status: "signed" });
  expect(await verify(copy, v3.publicKeyPath)).toMatchObject({ code: 0 });
  expect(await verify(copy, v2.publicKeyPath)).toMatchObject({ code: 1, status: "wrong-key" });
  await crane("copy", `${image.repository}:${fallbackTag(image)}.sig`, `${there}:${fallbackTag(image)}.sig`);
  expect(await verify(copy, v2.publicKeyPath)).toMatchObject({ code: 0, status: "signed" });
});

test("oras takes along what refers to the image, ours and cosign's, and not what lies under cosign's older tags", async () => {
  const image = await signedImage();
  const there = repository("by-oras");
  const copy = `${there}@${image.manifestDigest}`;
  await oras("cp", "-r", "--from-plain-http", "--to-plain-http", named(image), `${there}:1`);
  expect(await verify(copy, file("release.pub"), "--attestation", "spdxjson")).toMatchObject({ code: 0, status: "signed" });
  expect(await verify(copy, v3.publicKeyPath)).toMatchObject({ code: 0, status: "signed" });
  expect(await verify(copy, v2.publicKeyPath)).toMatchObject({ code: 1, status: "wrong-key" });
  const alone = repository("by-oras-alone");
  await oras("cp", "--from-plain-http", "--to-plain-http", named(image), `${alone}:1`);
  expect(await verify(`${alone}@${image.manifestDigest}`, file("release.pub"))).toMatchObject({ code: 1, status: "unsigned" });
});

test("oras lists what we attach, and what it attaches itself, before or after, changes no verdict", async () => {
  const image = await newImage();
  writeFileSync(file("notes.txt"), "reviewed by nobody");
  const attach = (type: string) => oras("attach", "--plain-http", "--artifact-type", type, named(image), "notes.txt:text/plain");
  await attach("application/vnd.example.notes");
  expect(await verify(named(image), file("release.pub"))).toMatchObject({ code: 1, status: "unsigned" });
  await run(signCommand, [named(image), "--key", file("release.key")]);
  const before = await verify(named(image), file("release.pub"));
  expect(before).toMatchObject({ code: 0, status: "signed" });
  await attach("application/vnd.example.more");
  // It says to be a signature, and holds none.
  await attach(BUNDLE);
  await attach("application/vnd.cncf.notary.signature");
  expect(await verify(named(image), file("release.pub"))).toMatchObject({ code: 0, status: "signed", text: before.text });
  const types = (await discovered(named(image))).map(({ artifactType }) => artifactType).sort();
  expect(types).toEqual(["application/vnd.cncf.notary.signature", BUNDLE, BUNDLE, "application/vnd.example.more", "application/vnd.example.notes"].sort());
});

test("the same on a registry that has the referrers API", async () => {
  const registry = await startFakeRegistry({ referrersApi: true });
  try {
    const image = await pushImage(`${registry.host}/team/api`, { tag: "1", layers: [{ "etc/api": "1" }] });
    await oras("attach", "--plain-http", "--artifact-type", "application/vnd.example.notes", named(image), "sbom.json:application/json");
    await run(signCommand, [named(image), "--key", file("release.key")]);
    const there = `${registry.host}/team/copied`;
    await oras("cp", "-r", "--from-plain-http", "--to-plain-http", named(image), `${there}:1`);
    expect((await discovered(`${there}:1`)).map(({ artifactType }) => artifactType).sort()).toEqual([BUNDLE, "application/vnd.example.notes"].sort());
    expect(await verify(`${there}:1`, file("release.pub"))).toMatchObject({ code: 0, status: "signed" });
  } finally {
    await registry.close();
  }
});

test("an image that crane changed is another, which nobody has signed", async () => {
  const image = await signedImage();
  const changed = `${image.repository}:changed`;
  await crane("mutate", "--label", "team=shop", "--tag", changed, named(image));
  expect(await crane("digest", changed)).not.toBe(image.manifestDigest);
  for (const key of [file("release.pub"), v2.publicKeyPath, v3.publicKeyPath])
    expect(await verify(changed, key)).toMatchObject({ code: 1, status: "unsigned" });
  expect(await verify(`${image.repository}:1`, file("release.pub"))).toMatchObject({ code: 0 });
});

test("what we promoted is whole to crane, and oras lists its signatures and the summary", async () => {
  const image = await signedImage();
  writeFileSync(
    file("policy.yaml"),
    `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: gate }
spec:
  authorities: [{ name: release, keyFile: release.pub }]
  rules: [{ name: signed, require: { signatures: { authorities: [release] } } }]
`,
  );
  const there = repository("promoted");
  const gate = ["--policy", file("policy.yaml"), "--key", file("gate.key"), "--verifier", "https://gate.example", "-o", "json"];
  expect(await run(promoteCommand, [named(image), `${there}:stable`, ...gate])).toMatchObject({ code: 0, err: "" });
  expect(await crane("digest", `${there}:stable`)).toBe(image.manifestDigest);
  expect(await crane("validate", "--remote", `${there}:stable`)).toMatch(/PASS/);
  const [before, after] = [await discovered(named(image)), await discovered(`${there}:stable`)];
  expect(after.map(({ digest }) => digest)).toEqual(expect.arrayContaining(before.map(({ digest }) => digest)));
  expect(after).toHaveLength(before.length + 1);
  const summary = after.find(({ digest }) => !before.some((each) => each.digest === digest));
  const manifest = JSON.parse(await oras("manifest", "fetch", "--plain-http", `${there}@${summary?.digest}`)) as object;
  expect(manifest).toMatchObject({ artifactType: BUNDLE, subject: { digest: image.manifestDigest } });
  // And on, by them.
  const further = repository("further");
  await oras("cp", "-r", "--from-plain-http", "--to-plain-http", `${there}:stable`, `${further}:stable`);
  const vsa = "https://slsa.dev/verification_summary/v1";
  expect(await verify(`${further}:stable`, file("release.pub"))).toMatchObject({ code: 0, status: "signed" });
  expect(await run(verifyCommand, [`${further}:stable`, "--key", file("gate.pub"), "--attestation", vsa, "-o", "json"])).toMatchObject({
    out: expect.stringContaining('"missingAttestations": []'),
  });
});
