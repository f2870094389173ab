/** A verifier whose own keys lie in a token of a real SoftHSM: from files into it, from one key to the next, and through what befalls tokens. */
import { randomUUID, X509Certificate } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Credential, enrol, renew } from "@hullmark/agent/adapters/grpc/enrolment";
import { parseConfig } from "@hullmark/verifier/config";
import { logCommand } from "hullmark/commands/log";
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from "jose";
import pkcs11js from "pkcs11js";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { logEntries } from "../fakes/log-entries.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { runCommand } from "../fakes/run-command.ts";
import { SoftHsm } from "../fakes/softhsm.ts";
import { TestVerifier } from "../fakes/verifier.ts";

// Conditions are waited for at most a minute each.
vi.setConfig({ testTimeout: 240_000 });

const NAMES = ["ca", "log", "ear", "nonce", "intent"] as const;
const PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14];
const ENROLMENT = "enrolment: { mode: tofu, acceptWithoutCertificate: true }\n";
const never = new AbortController().signal;
let hsm: SoftHsm;
const inToken = (token: string, pinSource?: string): string => `${ENROLMENT}keys: { pkcs11: ${JSON.stringify(hsm.uri(`token=${token}`, pinSource))} }\n`;

beforeAll(() => {
  hsm = new SoftHsm();
  for (const token of ["keys", "fresh"]) hsm.makeToken(token);
});
afterAll(() => hsm?.dispose());

describe("a verifier that had its keys in files", () => {
  let verifier: TestVerifier;
  let credential: Credential;
  const state = (...names: string[]): string => join(verifier.directory, "state", ...names);
  const keyFiles = (): string[] => [
    "ca/ca-key.pem",
    "log.key",
    "region.key",
    "intent.key",
    ...readdirSync(state("ear-keys")).map((name) => `ear-keys/${name}`),
  ];
  const stored = (): string[] => keyFiles().map((name) => readFileSync(state(name), "latin1"));
  const ids = async () => (await verifier.query.listKeys({})).keys.filter((key) => key.state === "in-use").map(({ name, id }) => `${name} ${id}`);
  const options = (pinned: Buffer) => ({ caCertificate: pinned, learnRoots: () => {} });

  beforeAll(async () => {
    verifier = await new TestVerifier().start();
    const address = `localhost:${verifier.running?.enrolmentPort}`;
    // Without TPM: its certificate is all by which it can stay.
    const { token } = await verifier.adminClient.createJoinToken({ nodeName: "node-1", ttlSeconds: 600 });
    const asked = { address, nodeName: "node-1", bootId: randomUUID(), pcrs: PCRS, quoter: undefined, joinToken: token };
    credential = await enrol({ ...options(verifier.ca), ...asked }, never);
  });
  afterAll(() => verifier?.dispose());

  /** All that the keys are for works now. */
  async function works(): Promise<void> {
    const node = verifier.attester({ name: `node-${randomUUID().slice(0, 8)}`, quoter: new FakeQuoter() });
    await node.connect();
    await node.report();
    expect(node.error).toBeUndefined();
    const set = (await (await fetch(`http://127.0.0.1:${verifier.running?.httpPort}/.well-known/jwks.json`)).json()) as JSONWebKeySet;
    const { jwt } = await verifier.query.issueEar({ node: node.credential?.nodeId ?? "" });
    await expect(jwtVerify(jwt, createLocalJWKSet(set))).resolves.toMatchObject({ protectedHeader: { alg: "ES256", typ: "eat+jwt" } });
    await node.close();
    // A checkpoint over all that there is now comes by itself.
    const { logSize } = await verifier.query.getStatus({});
    const key = join(verifier.directory, "log.pub");
    writeFileSync(key, (await verifier.query.listKeys({})).logVerifierKeys);
    const verify = ["verify", "--url", `http://127.0.0.1:${verifier.running?.httpPort}/log`, "--key", key, "-o", "json"];
    const size = async () => (JSON.parse((await runCommand(logCommand, ...verify)).out) as { checkpoint?: { size: number } }).checkpoint?.size ?? 0;
    await expect.poll(size, { timeout: 60_000, interval: 300 }).toBeGreaterThanOrEqual(Number(logSize));
  }

  async function rotateAll(): Promise<void> {
    for (const name of NAMES) await verifier.adminClient.rotateKey({ name, reason: "into the token" });
    // A node's next certificate is by the new CA's key, without enrolment, over the connection that the old one vouches for.
    credential = await renew(verifier.mainAddress, options(verifier.ca), credential, never);
    const [leaf, root] = [new X509Certificate(credential.certificateChain), new X509Certificate(verifier.ca)];
    expect(leaf.verify(root.publicKey)).toBe(true);
    await works();
    for (const name of NAMES) if (name !== "nonce") await verifier.adminClient.retireKey({ name, reason: "all have moved" });
    await works();
  }

  test("goes on with them where a token is configured, until they are rotated", async () => {
    const before = await ids();
    await verifier.stop();
    await verifier.start(inToken("keys"));
    expect(await ids()).toEqual(before);
    await works();
    expect(stored().some((text) => text.includes("pkcs11:"))).toBe(false);
  });

  test("rotated, each is in the token, the node stays enrolled, and no file has a key any more", async () => {
    const before = stored();
    await rotateAll();
    for (const text of stored())
      expect(text).toMatch(/^(PKCS11\+KEY\+hullmark\/eu-1\/v1(\/intents)?\+[0-9a-f]{8}\+)?pkcs11:object=hullmark%2Feu-1%2Fv1%2F[a-z]+%2F1;id=/);
    for (const text of stored()) expect(before.some((old) => text.includes(old.trim()))).toBe(false);
    expect((await hsm.labels("keys")).sort()).toEqual(NAMES.map((name) => `hullmark/eu-1/v1/${name}/1`).sort());
  });

  test("from one in the token to the next: the one before leaves it", async () => {
    const before = await ids();
    await rotateAll();
    expect((await ids()).some((id) => before.includes(id))).toBe(false);
    expect((await hsm.labels("keys")).sort()).toEqual(NAMES.map((name) => `hullmark/eu-1/v1/${name}/2`).sort());
  });

  test("a key that somebody put into the token beforehand is the next", async () => {
    const hand = hsm.open("keys", "hullmark/eu-1/v1");
    const premade = await hand.make("p256", "ca", `pkcs11:object=${encodeURIComponent("hullmark/eu-1/v1/ca/2")}`);
    await verifier.adminClient.rotateKey({ name: "ca", reason: "made in a ceremony" });
    const root = new X509Certificate(verifier.ca);
    expect(root.publicKey.export({ type: "spki", format: "der" })).toEqual((await hand.open(premade)).spki);
    await verifier.adminClient.retireKey({ name: "ca", reason: "all have moved" });
    // Whoever was able to put it there may have it: the log says of which keys that is so.
    const told = logEntries(verifier, "key-rotated").map(({ key, taken, reason }) => [key, taken, reason]);
    expect(told.filter(([, taken]) => taken)).toEqual([["ca", true, "made in a ceremony"]]);
    expect(told.length).toBeGreaterThan(2 * NAMES.length);
  });

  test("a restart finds the same keys", async () => {
    const before = await ids();
    await verifier.stop();
    await verifier.start(inToken("keys"));
    expect(await ids()).toEqual(before);
    await works();
  });

  test("a session that is lost under it is opened again", async () => {
    const module = new pkcs11js.PKCS11();
    module.load(hsm.module);
    for (const slot of module.C_GetSlotList(true)) module.C_CloseAllSessions(slot);
    await works();
    module.C_Finalize();
    await works();
  });

  test("without its token, or with a PIN that is wrong, it does not start, and says which", async () => {
    await verifier.stop();
    await expect(verifier.start()).rejects.toMatchObject({ code: "TOKEN_URI", message: expect.stringContaining("keys.pkcs11") });
    await expect(verifier.start(inToken("absent"))).rejects.toMatchObject({ code: "TOKEN_MISSING" });
    await expect(verifier.start(inToken("keys", "env:NOT_SET"))).rejects.toMatchObject({ code: "TOKEN_PIN", message: expect.stringContaining("NOT_SET") });
    await verifier.start(inToken("keys"));
    await works();
  });
});

test("a verifier that begins with a token never has a key in a file; where the token is not to be had, it makes none", async () => {
  const verifier = new TestVerifier("eu-2");
  try {
    await expect(verifier.start(inToken("absent"))).rejects.toMatchObject({ code: "TOKEN_MISSING" });
    expect(existsSync(join(verifier.directory, "state/ca/ca-key.pem"))).toBe(false);
    // Started again and again with a wrong PIN it would lock the token.
    const wrongPin = join(hsm.directory, "wrong-pin");
    writeFileSync(wrongPin, "wrong-pin\n", { mode: 0o600 });
    await expect(verifier.start(inToken("fresh", `file:${wrongPin}`))).rejects.toMatchObject({ message: expect.stringContaining("CKR_PIN_INCORRECT") });
    for (const source of [`file:${wrongPin}`, undefined])
      await expect(verifier.start(inToken("fresh", source))).rejects.toMatchObject({ code: "TOKEN_PIN", message: expect.stringContaining("it is not tried") });
    hsm.login("fresh");
    await verifier.start(inToken("fresh"));
    expect((await hsm.labels("fresh")).sort()).toEqual(NAMES.map((name) => `hullmark/eu-2/v1/${name}/1`).sort());
    const node = verifier.attester({ name: "node-1", quoter: new FakeQuoter() });
    await node.connect();
    await node.report();
    expect(node.error).toBeUndefined();
  } finally {
    await verifier.dispose();
  }
});

test("a configuration with a PIN in it, or with a token that it does not name, is refused, and the PIN not repeated", () => {
  const parse = (uri: string) => () => parseConfig(`stateDirectory: /var/lib/hullmark\nkeys: { pkcs11: ${JSON.stringify(uri)} }\n`, "verifier.yaml");
  for (const uri of [
    `pkcs11:token=a?module-path=/m.so&pin-value=${hsm.pin}`,
    "pkcs11:token=a",
    "pkcs11:?module-path=/m.so",
    "pkcs11:token=a;object=b?module-path=/m.so",
  ]) {
    expect(parse(uri)).toThrow(/keys\.pkcs11/);
    expect(parse(uri)).not.toThrow(hsm.pin);
  }
  expect(parse(hsm.uri("token=a"))()).toMatchObject({ keys: { pkcs11: hsm.uri("token=a") } });
});
