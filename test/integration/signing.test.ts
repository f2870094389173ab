/** `hullmark keygen|sign|attest|verify` on a real registry, and what released cosign makes of our signatures. */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import { attestCommand } from "hullmark/commands/attest";
import { keygenCommand } from "hullmark/commands/keygen";
import { signCommand } from "hullmark/commands/sign";
import { verifyCommand } from "hullmark/commands/verify";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { runCommand } from "../fakes/command-run.ts";
import { cosign, cosignKeyPair } from "../fakes/cosign.ts";
import { type PushedImage, pushImage, pushIndex } from "../fakes/images.ts";
import { never } from "../fakes/judging.ts";
import { program } from "../fakes/program.ts";
import { SoftHsm } from "../fakes/softhsm.ts";

let bed: Testbed;
let home: string;
let registry: OciRegistry;
let serial = 0;

beforeAll(async () => {
  bed = await startTestbed({ name: "prov-signing", parts: { registry: true } });
  home = mkdtempSync(join(tmpdir(), "hullmark-signing-"));
  registry = new OciRegistry();
  expect(await run(keygenCommand, ["--prefix", join(home, "release")])).toMatchObject({ code: 0 });
  expect(await run(keygenCommand, ["--prefix", join(home, "other")])).toMatchObject({ code: 0 });
  writeFileSync(
    join(home, "slsa.json"),
    JSON.stringify({ buildDefinition: { buildType: "https://example.org/b" }, runDetails: { builder: { id: "https://example.org/builder" } } }),
  );
});

afterAll(async () => {
  registry?.close();
  await bed?.down();
  if (home) rmSync(home, { recursive: true, force: true });
});

const run = (make: Parameters<typeof runCommand>[0], args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  runCommand(make, args, { HOME: home, DOCKER_CONFIG: home, ...env });

function newImage(): Promise<PushedImage> {
  serial++;
  return pushImage(`${bed.registry?.host}/signing/app${serial}`, { layers: [{ "etc/serial": String(serial) }] });
}

const named = ({ repository, manifestDigest }: PushedImage) => `${repository}@${manifestDigest}`;
const file = (name: string) => join(home, name);
const sign = (image: string, key = "release.key", env = {}) => run(signCommand, [image, "--key", file(key)], env);
const attest = (image: string, ...more: string[]) =>
  run(attestCommand, [image, "--predicate", file("slsa.json"), "--type", "slsaprovenance1", "--key", file("release.key"), ...more]);
const verify = (image: string, ...more: string[]) => run(verifyCommand, [image, "--key", `release=${file("release.pub")}`, ...more]);

describe("keygen", () => {
  test("writes a private key that only its owner reads, and never overwrites it", async () => {
    expect(statSync(file("release.key")).mode & 0o777).toBe(0o600);
    const before = readFileSync(file("release.key"), "utf8");
    const again = await run(keygenCommand, ["--prefix", file("release")]);
    expect(again).toMatchObject({ code: 3 });
    expect(again.err).toContain("never overwritten");
    expect(readFileSync(file("release.key"), "utf8")).toBe(before);
  });

  test("encrypts with the passphrase, without which nothing is signed", async () => {
    const image = await newImage();
    const env = { HULLMARK_KEY_PASSPHRASE: "correct horse" };
    expect(await run(keygenCommand, ["--prefix", file("locked")], env)).toMatchObject({ code: 0, err: "" });
    expect(readFileSync(file("locked.key"), "utf8")).toContain("BEGIN ENCRYPTED PRIVATE KEY");
    expect(await sign(named(image), "locked.key")).toMatchObject({ code: 2, out: "" });
    const wrong = await sign(named(image), "locked.key", { HULLMARK_KEY_PASSPHRASE: "battery staple" });
    expect(wrong).toMatchObject({ code: 2, out: "" });
    expect(wrong.err).not.toContain("battery");
    expect(await sign(named(image), "locked.key", env)).toMatchObject({ code: 0 });
    expect(await run(verifyCommand, [named(image), "--key", file("locked.pub")])).toMatchObject({ code: 0 });
  });
});

describe("our signature", () => {
  test("is verified by us and by released cosign v3, whose own we verify in turn", async () => {
    const image = await newImage();
    expect(await sign(named(image))).toMatchObject({ code: 0, err: "" });
    expect(await verify(named(image))).toMatchObject({ code: 0 });
    const told = await cosign("v3", home, ["verify", "--insecure-ignore-tlog", "--key", file("release.pub"), named(image)]);
    expect(told).toContain("The signatures were verified against the specified public key");
    expect(told).toContain("https://sigstore.dev/cosign/sign/v1");

    const theirs = await newImage();
    const key = await cosignKeyPair("v3", home, "cosign");
    await cosign("v3", home, ["sign", "--use-signing-config=false", "--tlog-upload=false", "--key", key.privateKey, named(theirs)]);
    expect(await run(verifyCommand, [named(theirs), "--key", key.publicKeyPath])).toMatchObject({ code: 0 });
  });

  test("is refused by cosign v3 for another key", async () => {
    const image = await newImage();
    await sign(named(image));
    await expect(cosign("v3", home, ["verify", "--insecure-ignore-tlog", "--key", file("other.pub"), named(image)])).rejects.toThrow("failed to verify");
  });

  test("and attestation lie beside cosign's, none lost, each read by the other", async () => {
    const image = await newImage();
    const key = await cosignKeyPair("v3", home, "beside");
    const theirs = ["--use-signing-config=false", "--tlog-upload=false", "--key", key.privateKey];
    await cosign("v3", home, ["sign", ...theirs, named(image)]);
    await sign(named(image));
    await cosign("v3", home, ["attest", ...theirs, "--type", "slsaprovenance1", "--predicate", file("slsa.json"), named(image)]);
    expect(await attest(named(image))).toMatchObject({ code: 0 });
    expect(await registry.referrers(image.repository, image.manifestDigest, never)).toHaveLength(4);
    const json = JSON.parse(
      (await run(verifyCommand, [named(image), "--key", `a=${file("release.pub")}`, "--key", `b=${key.publicKeyPath}`, "--threshold", "2", "-o", "json"])).out,
    );
    expect(json).toMatchObject({ status: "signed", satisfied: true, signedBy: ["a", "b"], transparencyLogChecked: false });
    const sarif = async (...keys: string[]) => {
      const { code, out } = await run(verifyCommand, [named(image), ...keys, "-o", "sarif"]);
      const { level, kind, ruleId } = JSON.parse(out).runs[0].results[0];
      return { code, level, kind, ruleId, out };
    };
    expect(await sarif("--key", file("release.pub"))).toMatchObject({ code: 0, level: "none", kind: "pass", ruleId: "signed" });
    const refused = await sarif("--key", file("other.pub"));
    expect(refused).toMatchObject({ code: 1, level: "error", kind: "fail", ruleId: "wrong-key" });
    expect(refused.out).toContain(image.manifestDigest);
    const attestation = ["verify-attestation", "--insecure-ignore-tlog", "--type", "slsaprovenance1", "--key", file("release.pub"), named(image)];
    expect(await cosign("v3", home, attestation)).toContain("The signatures were verified against the specified public key");
  });

  test("of an index counts for a platform of it", async () => {
    const index = await pushIndex(`${bed.registry?.host}/signing/multi`, "v1", ["amd64", "arm64"]);
    const [child] = index.images;
    expect(await sign(`${index.repository}:v1`)).toMatchObject({ code: 0 });
    expect(await verify(`${index.repository}:v1`, "--platform", "linux/arm64")).toMatchObject({ code: 0 });
    expect(await verify(`${index.repository}@${child?.manifestDigest}`)).toMatchObject({ code: 1 });
    expect(await verify(`${index.repository}:v1`, "--platform", "linux/s390x")).toMatchObject({ code: 3 });
  });
});

describe("a key in a PKCS#11 token", () => {
  let hsm: SoftHsm;
  const uri = (object: string) => hsm.uri(`token=build;object=${object}`);
  beforeAll(() => {
    hsm = new SoftHsm();
    hsm.makeToken("build");
  });
  afterAll(() => hsm?.dispose());

  test("is made there, and its signature and attestation are verified by us and by released cosign v3 as a file's are", async () => {
    expect(await run(keygenCommand, ["--key", uri("release"), "--prefix", file("token")])).toMatchObject({ code: 0, err: "" });
    expect(existsSync(file("token.key"))).toBe(false);
    const image = await newImage();
    const signed = await run(signCommand, [named(image), "--key", uri("release")]);
    expect(signed).toMatchObject({ code: 0, err: "" });
    expect(signed.out).not.toContain(hsm.pin);
    expect(await run(attestCommand, [named(image), "--predicate", file("slsa.json"), "--type", "slsaprovenance1", "--key", uri("release")])).toMatchObject({
      code: 0,
    });
    expect(await run(verifyCommand, [named(image), "--key", file("token.pub"), "--attestation", "slsaprovenance1"])).toMatchObject({ code: 0 });
    expect(await run(verifyCommand, [named(image), "--key", file("other.pub")])).toMatchObject({ code: 1 });
    expect(await run(verifyCommand, [named(image), "--key", uri("release")])).toMatchObject({ code: 0, out: expect.stringContaining("signed by token") });
    expect(await run(verifyCommand, [named(image), "--key", `release=${uri("release")}`])).toMatchObject({
      code: 0,
      out: expect.stringContaining("signed by release"),
    });
    expect(await run(verifyCommand, [named(image), "--key", uri("nobody")])).toMatchObject({ code: 2, err: expect.stringContaining("KEY_MISSING") });
    const key = ["--insecure-ignore-tlog", "--key", file("token.pub"), named(image)];
    expect(await cosign("v3", home, ["verify", ...key])).toContain("The signatures were verified against the specified public key");
    expect(await cosign("v3", home, ["verify-attestation", "--type", "slsaprovenance1", ...key])).toContain("verified against the specified public key");
  });

  test("is never overwritten, and its public half can be had again", async () => {
    expect(await run(keygenCommand, ["--key", uri("once"), "--prefix", file("once")])).toMatchObject({ code: 0 });
    expect(await run(keygenCommand, ["--key", uri("once"), "--prefix", file("twice")])).toMatchObject({ code: 2 });
    expect(await run(keygenCommand, ["--key", uri("once"), "--existing", "--prefix", file("again")])).toMatchObject({ code: 0 });
    expect(readFileSync(file("again.pub"), "utf8")).toBe(readFileSync(file("once.pub"), "utf8"));
  });

  test("that is not there, or not to be opened, is told in one line, and nothing is signed", async () => {
    const image = await newImage();
    const missing = await run(signCommand, [named(image), "--key", uri("nobody")]);
    expect(missing).toMatchObject({ code: 2, out: "" });
    expect(missing.err).toContain('KEY_MISSING: the token has no private key "nobody"');
    const inUri = await run(signCommand, [named(image), "--key", `pkcs11:token=build;object=release?pin-value=${hsm.pin}`]);
    expect(inUri).toMatchObject({ code: 2, out: "" });
    expect(inUri.err).not.toContain(hsm.pin);
    expect(await run(verifyCommand, [named(image), "--key", file("release.pub")])).toMatchObject({ code: 1 });
  });

  test("is used by the command as a program, with the PIN from a variable, and the program ends", async () => {
    const image = await newImage();
    expect(await run(keygenCommand, ["--key", uri("program"), "--prefix", file("program")])).toMatchObject({ code: 0 });
    const main = program("cli");
    const key = hsm.uri("token=build;object=program", "env:BUILD_PIN");
    const env = { ...process.env, HOME: home, DOCKER_CONFIG: home, BUILD_PIN: hsm.pin };
    expect((await promisify(execFile)(process.execPath, [main, "sign", named(image), "--key", key], { env })).stderr).toBe("");
    expect(await run(verifyCommand, [named(image), "--key", file("program.pub")])).toMatchObject({ code: 0 });
  });
});

describe("verify says", () => {
  test("unsigned, wrong key and attestation only apart, and exits 1", async () => {
    const [unsigned, wrong, attested] = [await newImage(), await newImage(), await newImage()];
    await sign(named(wrong), "other.key");
    await attest(named(attested));
    const [first, second, third] = [await verify(named(unsigned)), await verify(named(wrong)), await verify(named(attested))];
    expect([first.code, second.code, third.code]).toEqual([1, 1, 1]);
    expect(first.out).toContain("✗ unsigned: not signed: nothing is attached to it");
    expect(second.out).toContain("✗ wrong-key: carries a signature, but not by release");
    expect(third.out).toContain("✗ attestation-only: not signed");
  });

  test("moved tag where the tag that is named with a digest names another image now", async () => {
    const repository = `${bed.registry?.host}/signing/moving`;
    const before = await pushImage(repository, { tag: "v1", layers: [{ a: "1" }] });
    const after = await pushImage(repository, { tag: "v1", layers: [{ a: "2" }] });
    await sign(`${repository}:v1`);
    const moved = await verify(`${repository}:v1@${before.manifestDigest}`);
    expect(moved).toMatchObject({ code: 1 });
    expect(moved.out).toContain(`moved-tag: not signed, and the tag ${repository}:v1 now names another image: ${after.manifestDigest}`);
    expect(await verify(`${repository}:v1`)).toMatchObject({ code: 0 });
    // What is signed stays signed wherever its tag goes: it is only told.
    await pushImage(repository, { tag: "v1", layers: [{ a: "3" }] });
    const signed = await verify(`${repository}:v1@${after.manifestDigest}`);
    expect(signed).toMatchObject({ code: 0 });
    expect(signed.out).toContain("now names");
  });

  test("an attestation that is asked for and missing is not enough", async () => {
    const image = await newImage();
    await sign(named(image));
    expect(await verify(named(image), "--attestation", "slsaprovenance1")).toMatchObject({ code: 1 });
    await attest(named(image));
    expect(await verify(named(image), "--attestation", "slsaprovenance1")).toMatchObject({ code: 0 });
  });

  test("cannot tell, exit 3, where image or registry are not to be had", async () => {
    const gone = await verify(`${bed.registry?.host}/signing/none:v1`);
    expect(gone).toMatchObject({ code: 3, out: "" });
    expect(gone.err).toContain("not in the registry");
    const dead = await verify("127.0.0.1:1/signing/none:v1");
    expect(dead).toMatchObject({ code: 3, out: "" });
    expect(dead.err).toContain("could not be reached");
  });

  test("usage, exit 2, where the question makes no sense", async () => {
    const image = await newImage();
    expect(await verify("Not An Image")).toMatchObject({ code: 2 });
    expect(await verify(named(image), "--threshold", "2")).toMatchObject({ code: 2 });
    expect(await run(verifyCommand, [named(image), "--key", file("slsa.json")])).toMatchObject({ code: 2 });
    const certificate = file("certificate.pem");
    writeFileSync(certificate, "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    for (const [key, said] of [
      [certificate, "openssl x509 -pubkey"],
      [file("release.key"), "private key: give its public half"],
      ["awskms:///alias/release", "cosign public-key"],
      [`release=${certificate}`, "openssl x509 -pubkey"],
    ] as const)
      expect(await run(verifyCommand, [named(image), "--key", key]), key).toMatchObject({ code: 2, out: "", err: expect.stringContaining(said) });
    expect(await attest(named(image), "--type", "no type")).toMatchObject({ code: 2 });
    expect(await sign(named(image), "release.pub")).toMatchObject({ code: 2 });
  });
});
