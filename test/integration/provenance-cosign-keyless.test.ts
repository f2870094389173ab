/** Keyless signatures and attestations by released cosign and by our own command, against a certificate authority, log and timestamp authority of our own; judged by us under the same trust root. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { OciRegistry } from "@hullmark/verifier/adapters/oci-registry/index";
import type { Authority } from "@hullmark/verifier/core/policy/types";
import { type ProvenanceQuestion, SLSA_V1 } from "@hullmark/verifier/core/provenance/index";
import { attestCommand } from "hullmark/commands/attest";
import { signCommand } from "hullmark/commands/sign";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { runCommand } from "../fakes/command-run.ts";
import { type CosignVersion, cosign } from "../fakes/cosign.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { judge, manifestSubject, never } from "../fakes/judging.ts";
import { type Person, TestSigstore } from "../fakes/sigstore/index.ts";
import { type SigstoreServer, serveSigstore } from "../fakes/sigstore/server.ts";

const ANN: Person = { subject: "ann@acme.example", issuer: "https://accounts.example" };
const EVE: Person = { subject: "eve@acme.example", issuer: "https://accounts.example" };
let bed: Testbed;
let home: string;
let registry: OciRegistry;
let sigstore: TestSigstore;
let server: SigstoreServer;
let serial = 0;

beforeAll(async () => {
  bed = await startTestbed({ name: "prov-keyless", parts: { registry: true } });
  home = mkdtempSync(join(tmpdir(), "hullmark-keyless-"));
  registry = new OciRegistry();
  sigstore = await TestSigstore.create();
  server = await serveSigstore(sigstore, home);
  writeFileSync(
    join(home, "slsa.json"),
    JSON.stringify({ buildDefinition: { buildType: "x", externalParameters: {} }, runDetails: { builder: { id: "https://builder.example/1" } } }),
  );
});
afterAll(async () => {
  registry?.close();
  await server?.close();
  sigstore?.close();
  await bed?.down();
  if (home) rmSync(home, { recursive: true, force: true });
});

const newImage = (): Promise<PushedImage> => pushImage(`${bed.registry?.host}/keyless/app${++serial}`, { layers: [{ serial: String(serial) }] });
const named = ({ repository, manifestDigest }: PushedImage) => `${repository}@${manifestDigest}`;

const authority = (subject: string): Authority => ({
  name: "ann",
  signers: [
    { kind: "keyless", trustRoot: "test", issuer: ANN.issuer, subject: { exact: subject }, extensions: {}, notBeforeMs: undefined, notAfterMs: undefined },
  ],
});
const judgeImage = (image: PushedImage, overrides: Partial<ProvenanceQuestion> = {}) =>
  judge(registry, [manifestSubject(image.repository, image.manifestDigest)], {
    ...{ authorities: [authority(ANN.subject)], trustRoots: [{ name: "test", json: sigstore.trustedRoot(), requireLog: true, requireSct: true }] },
    ...{ atMs: Date.now(), ...overrides },
  });

/** Flags and environment with which cosign uses this deployment and no other. */
function run(version: CosignVersion, verb: readonly string[], image: PushedImage, person: Person): Promise<string> {
  const { files, url } = server;
  const env = { SIGSTORE_CT_LOG_PUBLIC_KEY_FILE: files.ctLogKey, SIGSTORE_REKOR_PUBLIC_KEY: files.rekorKey, SIGSTORE_ROOT_FILE: files.fulcioRoot };
  const where =
    version === "v2"
      ? ["--fulcio-url", url, "--rekor-url", url, "--timestamp-server-url", `${url}/api/v1/timestamp`]
      : ["--signing-config", files.signingConfig, "--trusted-root", files.trustedRoot];
  return cosign(version, home, [...verb, ...where, "--identity-token", server.token(person), named(image)], version === "v2" ? env : {});
}

describe.each<[string, CosignVersion]>([
  ["v2, tag scheme", "v2"],
  ["v3, bundle", "v3"],
])("cosign %s", (_, version) => {
  test("signs, and we know who and when", async () => {
    const image = await newImage();
    await run(version, ["sign"], image, ANN);
    const verdict = await judgeImage(image);
    expect(verdict.artefacts.map(({ code, text }) => [code, text])).toEqual([["signature", `signature of ${image.manifestDigest} by ann`]]);
    expect(verdict).toMatchObject({ status: "signed", satisfied: true });
    expect(Math.abs((verdict.artefacts[0]?.vouchers[0]?.signedAtMs ?? 0) - Date.now())).toBeLessThan(60_000);
    expect(await judgeImage(image, { authorities: [authority(EVE.subject)] })).toMatchObject({ status: "wrong-key", artefacts: [{ code: "wrong-identity" }] });
  });

  test("attests, which does not make it signed", async () => {
    const image = await newImage();
    await run(version, ["attest", "--type", "slsaprovenance1", "--predicate", join(home, "slsa.json")], image, ANN);
    const verdict = await judgeImage(image);
    expect(verdict.artefacts.map(({ code, predicateType }) => [code, predicateType])).toEqual([["attestation", SLSA_V1]]);
    expect(verdict).toMatchObject({ status: "attestation-only", satisfied: false, source: { builder: "https://builder.example/1" } });
  });
});

describe("hullmark", () => {
  const ours = (make: Parameters<typeof runCommand>[0], image: PushedImage, args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    runCommand(make, [named(image), "--signing-config", server.files.signingConfig, ...args], { HOME: home, DOCKER_CONFIG: home, ...env });
  const file = (name: string, content: string) => {
    writeFileSync(join(home, name), content);
    return join(home, name);
  };
  const config = (changes: object) =>
    file(`signing_config-${++serial}.json`, JSON.stringify({ ...JSON.parse(readFileSync(server.files.signingConfig, "utf8")), ...changes }));
  const service = (more: object) => [{ url: server.url, majorApiVersion: 1, validFor: { start: "2020-01-01T00:00:00Z" }, operator: "sigstore.test", ...more }];

  test("signs, with a token from a file, and released cosign and we accept it for whom it is", async () => {
    const image = await newImage();
    expect(await ours(signCommand, image, ["--identity-token", file("token", `${server.token(ANN)}\n`)])).toMatchObject({ code: 0, err: "" });
    const who = ["--certificate-oidc-issuer", ANN.issuer, "--certificate-identity"];
    const verify = (subject: string) => cosign("v3", home, ["verify", "--trusted-root", server.files.trustedRoot, ...who, subject, named(image)]);
    expect(await verify(ANN.subject)).toContain("https://sigstore.dev/cosign/sign/v1");
    await expect(verify(EVE.subject)).rejects.toThrow("expected");
    const verdict = await judgeImage(image);
    expect(verdict).toMatchObject({ status: "signed", satisfied: true });
    expect(Math.abs((verdict.artefacts[0]?.vouchers[0]?.signedAtMs ?? 0) - Date.now())).toBeLessThan(60_000);
    expect(await judgeImage(image, { authorities: [authority(EVE.subject)] })).toMatchObject({ status: "wrong-key", artefacts: [{ code: "wrong-identity" }] });
  });

  test("attests with a log of version 2, with a token of the environment", async () => {
    const image = await newImage();
    const what = ["--type", "slsaprovenance1", "--predicate", join(home, "slsa.json")];
    const second = config({ rekorTlogUrls: service({ majorApiVersion: 2 }) });
    expect(await ours(attestCommand, image, [...what, "--signing-config", second], { SIGSTORE_ID_TOKEN: server.token(ANN) })).toMatchObject({
      code: 0,
      err: "",
    });
    const verdict = await judgeImage(image);
    expect(verdict.artefacts.map(({ code, predicateType }) => [code, predicateType])).toEqual([["attestation", SLSA_V1]]);
    expect(verdict).toMatchObject({ status: "attestation-only", source: { builder: "https://builder.example/1" } });
  });

  test("attaches nothing where the token is refused, is none, or nothing would prove the time, and tells no token", async () => {
    const image = await newImage();
    const stranger = server.token(ANN).replace(/[^.]+$/, "c3RyYW5nZXI");
    const [v2, tsaUrls] = [service({ majorApiVersion: 2 }), service({ url: `${server.url}/none` })];
    const refused: readonly (readonly [string, readonly string[], number, string])[] = [
      [stranger, [], 3, "not signed"],
      [`header.${stranger}.more`, [], 3, "not an identity token"],
      ["bm90.anNvbg.c2ln", [], 3, "no identity token that can be used"],
      [server.token(ANN), ["--signing-config", config({ rekorTlogUrls: v2, tsaUrls: [], tsaConfig: undefined })], 2, "prove no time"],
      [server.token(ANN), ["--signing-config", config({ rekorTlogConfig: undefined, tsaConfig: undefined })], 2, "neither log nor timestamp"],
      [server.token(ANN), ["--signing-config", config({ caUrls: service({ url: "http://ca.example" }) })], 2, "is not https"],
      [server.token(ANN), ["--signing-config", config({ tsaUrls })], 3, "not signed"],
      [server.token(ANN), ["--signing-config", config({ tsaUrls: service({ url: `${server.url}/api/v1/timestamp-refused` }) })], 3, "is no timestamp"],
      [server.token(ANN), ["--key", "k"], 2, "either --key or --signing-config"],
    ];
    for (const [token, args, code, said] of refused) {
      const run = await ours(signCommand, image, args, { SIGSTORE_ID_TOKEN: token });
      expect(run).toMatchObject({ code, out: "", err: expect.stringContaining(said) });
      expect(run.err).not.toContain(token);
    }
    expect(await registry.referrers(image.repository, image.manifestDigest, never)).toEqual([]);
  });
});
