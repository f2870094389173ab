/** The verifier's own keys change under it while nodes and people stay: nobody enrols again, and what was retired opens nothing. */
import { randomUUID, X509Certificate } from "node:crypto";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { type Credential, enrol, renew } from "@hullmark/agent/adapters/grpc/enrolment";
import { TrustedCa } from "@hullmark/agent/adapters/grpc/trusted-ca";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Query } from "@hullmark/proto/v1/query";
import { logCommand } from "hullmark/commands/log";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Attester } from "../fakes/attester.ts";
import { logEntries } from "../fakes/log-entries.ts";
import { testNoteSigner } from "../fakes/note-signer.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { runCommand } from "../fakes/run-command.ts";
import { Scrape } from "../fakes/scrape.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14];
const never = new AbortController().signal;
const DAY_MS = 86_400_000;

// Conditions are waited for at most a minute each.
vi.setConfig({ testTimeout: 240_000 });

let verifier: TestVerifier;
let directory: string;
beforeAll(async () => {
  verifier = await new TestVerifier().start();
  directory = mkdtempSync(join(tmpdir(), "hullmark-own-keys-"));
});
afterAll(async () => {
  await verifier.dispose();
  rmSync(directory, { recursive: true });
});

/** An agent's memory of its verifier: what the operator pinned, and what it learnt. */
class Pinned {
  readonly ca: TrustedCa;
  readonly file: string;

  constructor(name: string, from: string) {
    this.file = join(directory, `${name}.crt`);
    copyFileSync(from, this.file);
    this.ca = new TrustedCa(this.file, join(directory, `${name}-learnt.pem`));
  }

  get roots(): string[] {
    return rootsOf(this.ca.pem);
  }

  async enrol(nodeName: string, how: { readonly quoter?: FakeQuoter; readonly joinToken?: string }): Promise<Credential> {
    const address = `localhost:${verifier.running?.enrolmentPort}`;
    const { ca } = this;
    const options = {
      address,
      caCertificate: ca.pem,
      learnRoots: (roots: readonly Uint8Array[]) => ca.learn(roots),
      nodeName,
      bootId: randomUUID(),
      pcrs: PCRS,
    };
    return await enrol({ ...options, quoter: how.quoter, joinToken: how.joinToken }, never);
  }

  async renew(present: Credential): Promise<Credential> {
    return await renew(verifier.mainAddress, { caCertificate: this.ca.pem, learnRoots: (roots) => this.ca.learn(roots) }, present, never);
  }
}

const rootsOf = (pem: Buffer | string): string[] =>
  (pem.toString().match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((text) => new X509Certificate(text).fingerprint256);
const issuedBy = (pem: string | Buffer, rootPem: string | Buffer): boolean => new X509Certificate(pem).verify(new X509Certificate(rootPem).publicKey);
const adminFile = (name: string): string => join(verifier.directory, "state/admin", name);
/** A connection of its own: what was handed in is what it shows and trusts. */
function asking(ca: Buffer, key: Buffer | string, certificate: Buffer | string) {
  const channel = new RpcChannel(verifier.mainAddress, credentials.createSsl(ca, Buffer.from(key), Buffer.from(certificate)));
  return verifier.track(channel).client(Query);
}
const keysNow = async () => (await verifier.query.listKeys({})).keys.map(({ name, state, id }) => ({ name, state, id }));
const keysOf = async (name: string) => (await keysNow()).filter((key) => key.name === name).map(({ state }) => state);

describe("the CA", () => {
  let old: { readonly ca: Buffer; readonly key: Buffer; readonly certificate: Buffer };
  let tpm: Pinned;
  let plain: Pinned;
  let plainCredential: Credential;
  let late: Pinned;
  let node: Attester;
  const [quoter, lateQuoter] = [new FakeQuoter(), new FakeQuoter()];
  /** A stream of the time before: its node is a client of the old CA. */
  const openQuery = () => asking(old.ca, old.key, old.certificate);

  beforeAll(async () => {
    old = { ca: readFileSync(adminFile("ca.crt")), key: readFileSync(adminFile("client.key")), certificate: readFileSync(adminFile("client.crt")) };
    [tpm, plain, late] = ["tpm", "plain", "late"].map((name) => new Pinned(name, adminFile("ca.crt"))) as [Pinned, Pinned, Pinned];
    await tpm.enrol("tpm-1", { quoter });
    await late.enrol("late-1", { quoter: lateQuoter });
    const { token } = await verifier.adminClient.createJoinToken({ nodeName: "plain-1", ttlSeconds: 600 });
    plainCredential = await plain.enrol("plain-1", { joinToken: token });
    node = verifier.attester({ name: "live-1", quoter: new FakeQuoter() });
    await node.connect();
  });

  test("is rotated by an admin, who says why; the log has it", async () => {
    await expect(verifier.adminClient.rotateKey({ name: "ca", reason: " " })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(verifier.adminClient.rotateKey({ name: "house", reason: "x" })).rejects.toMatchObject({ code: "NOT_FOUND" });
    const { id } = await verifier.adminClient.rotateKey({ name: "ca", reason: "three years old" });
    expect(await keysOf("ca")).toEqual(["in-use", "accepted"]);
    expect((await keysNow())[0]).toMatchObject({ name: "ca", id });
    expect(logEntries(verifier, "key-rotated")).toMatchObject([{ key: "ca", id, reason: "three years old", by: "admin" }]);
  });

  test("whoever holds certificates of the old one, and pins it alone, goes on: also on new connections", async () => {
    expect(node.error).toBeUndefined();
    await node.report();
    await expect(openQuery().getStatus({})).resolves.toMatchObject({ region: "eu-1" });
  });

  test("the next certificate is of the new one, and with it comes the new root: no enrolment, no token", async () => {
    const [before] = plain.roots;
    plainCredential = await plain.renew(plainCredential);
    expect(plain.roots).toHaveLength(2);
    expect(plain.roots[1]).toBe(before);
    expect(issuedBy(plainCredential.certificateChain, plain.ca.pem)).toBe(true);
    await tpm.enrol("tpm-1", { quoter });
    expect(tpm.roots).toEqual(plain.roots);
  });

  test("what the verifier writes for its admin follows", async () => {
    expect(rootsOf(verifier.ca)).toEqual(plain.roots);
    expect(issuedBy(readFileSync(adminFile("client.crt")), verifier.ca)).toBe(true);
    expect((await verifier.query.listKeys({})).caCertificates).toBe(verifier.ca.toString());
  });

  test("a second rotation waits for the first to be over", async () => {
    await expect(verifier.adminClient.rotateKey({ name: "ca", reason: "again" })).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
  });

  test("once retired, the old one's certificates open nothing, and connections that they made end", async () => {
    const { ids } = await verifier.adminClient.retireKey({ name: "ca", reason: "all have moved" });
    expect(ids).toHaveLength(1);
    expect(logEntries(verifier, "key-retired")).toMatchObject([{ key: "ca", id: ids[0], reason: "all have moved" }]);
    expect(await keysOf("ca")).toEqual(["in-use"]);
    await expect(openQuery().getStatus({}, { timeoutMs: 60_000 })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect((await node.ended())?.code).toBeDefined();
    await expect(verifier.adminClient.retireKey({ name: "ca", reason: "again" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  test("who has moved goes on, and forgets the old one", async () => {
    plainCredential = await plain.renew(plainCredential);
    expect(plain.roots).toEqual(rootsOf(verifier.ca));
    expect(plain.roots).toHaveLength(1);
  });

  test("a node that was away all the while knows the verifier by the old root, proves its TPM, and learns the new", async () => {
    expect(late.roots).toEqual(rootsOf(old.ca));
    const credential = await late.enrol("late-1", { quoter: lateQuoter });
    expect(issuedBy(credential.certificateChain, verifier.ca)).toBe(true);
    expect(late.roots).toEqual(rootsOf(verifier.ca));
  });

  test("whoever pins another root is obeyed, whatever was learnt", () => {
    writeFileSync(late.file, old.ca);
    expect(late.roots).toEqual(rootsOf(verifier.ca));
    writeFileSync(late.file, Buffer.concat([old.ca, Buffer.from("\n")]));
    expect(late.roots).toEqual(rootsOf(old.ca));
  });

  test("a restart finds it all as it was", async () => {
    const before = await keysNow();
    await verifier.stop();
    await verifier.start();
    expect(await keysNow()).toEqual(before);
    plainCredential = await plain.renew(plainCredential);
    expect(plain.roots).toEqual(rootsOf(verifier.ca));
    const starts = logEntries(verifier, "start", "type");
    expect(starts.at(-1)).toMatchObject({ keys: { ca: before[0]?.id } });
    expect(starts.at(-1)).not.toMatchObject({ keys: starts[0]?.["keys"] });
  });
});

describe("the log's key", () => {
  const logUrl = () => `http://127.0.0.1:${verifier.running?.httpPort}/log`;
  const file = (name: string, content: string) => {
    writeFileSync(join(directory, name), content);
    return join(directory, name);
  };
  const verify = (...args: string[]) => runCommand(logCommand, "verify", "--url", logUrl(), ...args);
  const published = () => readFileSync(adminFile("log.pub"), "utf8");
  /** Waits for a checkpoint over everything, which comes by itself once a second. */
  const upToDate = async (key: string, ...args: string[]) => {
    const { logSize } = await verifier.query.getStatus({});
    await expect
      .poll(async () => (JSON.parse((await verify("--key", key, ...args, "-o", "json")).out) as { checkpoint?: { size: number } }).checkpoint?.size ?? 0, {
        timeout: 60_000,
        interval: 300,
      })
      .toBeGreaterThanOrEqual(Number(logSize));
    return await verify("--key", key, ...args);
  };
  let node: Attester;
  let oldKey: string;
  let newKey: string;
  let remembered: string;
  let heldBefore: string;

  test("verifies, and a node and a person remember a checkpoint by it", async () => {
    node = verifier.attester({ name: "log-1", quoter: new FakeQuoter() });
    await node.connect();
    oldKey = file("old.pub", published());
    remembered = join(directory, "last.checkpoint");
    expect((await upToDate(oldKey, "--remember", remembered)).code).toBe(0);
    await node.close();
    await node.connect();
    heldBefore = node.checkpoint;
    expect(heldBefore).not.toBe("");
  });

  test("is rotated: both keys sign, each verifies the log, and what was remembered is a part of it", async () => {
    await verifier.adminClient.rotateKey({ name: "log", reason: "two years old" });
    expect(await keysOf("log")).toEqual(["in-use", "accepted"]);
    expect(published().trim().split("\n")).toHaveLength(2);
    expect((await verifier.query.listKeys({})).logVerifierKeys).toBe(published());
    newKey = file("new.pub", `${published().split("\n")[0]}\n`);
    const both = file("both.pub", published());
    for (const key of [oldKey, newKey, both]) expect((await upToDate(key)).out).toMatch(/^VERIFIED/);
    // The checkpoint of before is by the old key alone.
    expect(await verify("--key", oldKey, "--since", remembered)).toMatchObject({ code: 0, out: expect.stringContaining("consistent") });
    expect(await verify("--key", both, "--since", remembered)).toMatchObject({ code: 0, out: expect.stringContaining("consistent") });
    expect((await verify("--key", newKey, "--since", remembered)).code).toBe(3);
    expect((await verify("--key", both, "--remember", remembered)).code).toBe(0);
    expect((await verify("--key", file("strangers.pub", testNoteSigner(published().split("+")[0]).verifierKey))).code).toBe(3);
  });

  test("is retired: the new one alone signs and verifies, from what was remembered while both did", async () => {
    await node.close();
    await node.connect();
    const heldBoth = node.checkpoint;
    expect(heldBoth.split("\n").filter((line) => line.startsWith("\u2014 "))).toHaveLength(2);
    await verifier.adminClient.retireKey({ name: "log", reason: "everybody has the new one" });
    expect(await upToDate(newKey, "--since", remembered)).toMatchObject({ code: 0, out: expect.stringContaining("consistent") });
    expect((await verify("--key", oldKey)).code).toBe(3);
    expect(published()).toBe(readFileSync(newKey, "utf8"));
  });

  test("what agents remember by any of the keys is still held against the log: also by one that slept all the while", async () => {
    const claims = async () => (await verifier.query.getStatus({})).claims.map(({ code }) => code);
    await node.close();
    node.checkpoint = heldBefore;
    await node.connect();
    await node.report();
    expect(await claims()).not.toContain("log-contradicted");
    await verifier.stop();
    await verifier.start();
    node.options = { ...node.options, mainAddress: verifier.mainAddress, enrolmentAddress: `localhost:${verifier.running?.enrolmentPort}` };
    await node.connect();
    expect(await claims()).not.toContain("log-contradicted");
    expect((await upToDate(newKey, "--since", remembered)).code).toBe(0);
  });
});

test("the nonce key: a node goes on being asked and believed, before and after; a restart takes the new one", async () => {
  const node = verifier.attester({ name: "nonce-1", quoter: new FakeQuoter() });
  node.answering = false;
  await node.connect();
  await node.report();
  await verifier.adminClient.requestQuote({ nodeId: node.credential?.nodeId ?? "" });
  const challenge = await node.next("challenge");
  const before = (await keysNow()).find(({ name }) => name === "nonce");
  const { id } = await verifier.adminClient.rotateKey({ name: "nonce", reason: "a year old" });
  expect(id).not.toBe(before?.id);
  const accepted = async (): Promise<number> => {
    const text = await (await fetch(`http://127.0.0.1:${verifier.running?.httpPort}/metrics`)).text();
    return Number(/^hullmark_quotes_total\{result="accepted",reason=""\} (\d+)$/m.exec(text)?.[1] ?? 0);
  };
  const first = await accepted();
  // Asked before, answered after.
  node.send({ case: "quote", value: await node.quote(challenge) });
  await expect.poll(accepted, { timeout: 60_000 }).toBe(first + 1);
  await verifier.adminClient.requestQuote({ nodeId: node.credential?.nodeId ?? "" });
  node.send({ case: "quote", value: await node.quote(await node.next("challenge")) });
  await expect.poll(accepted, { timeout: 60_000 }).toBe(first + 2);
  expect(await keysOf("nonce")).toEqual(["in-use"]);
  await verifier.stop();
  await verifier.start();
  expect((await keysNow()).find(({ name }) => name === "nonce")?.id).toBe(id);
});

test("a key that gave way and is accepted for too long is told", async () => {
  const claims = async () => (await verifier.query.getStatus({})).claims.map(({ code, detail }) => `${code} ${detail}`);
  await verifier.adminClient.rotateKey({ name: "ca", reason: "to see its age" });
  expect(await claims()).toEqual([]);
  verifier.clock.shiftMs = 30.5 * DAY_MS;
  expect(await claims()).toEqual([expect.stringMatching(/^key-overlap .* of ca .*: hullmark keys retire ca$/)]);
  expect(await (await fetch(`http://127.0.0.1:${verifier.running?.httpPort}/metrics`)).text()).toMatch(
    /^hullmark_key_due_timestamp_seconds\{key="ca",state="accepted"\} \d/m,
  );
  verifier.clock.shiftMs = 0;
});

test("each of them is told at its age, in figures too, until it is replaced", async () => {
  const old = await new TestVerifier().start("keys: { maxAgeDays: { ca: 2, log: 2, nonce: 3, intent: 4 } }\near: { keyDays: 2 }");
  try {
    const told = async () =>
      (await old.query.getStatus({})).claims.map(({ code, detail }) => `${code} ${/(\d+) days old: (.*)$/.exec(detail)?.slice(1).join(" ")}`);
    const due = async () => await Scrape.from(`http://127.0.0.1:${old.running?.httpPort}`);
    expect(await told()).toEqual([]);
    const startedMs = Date.now();
    // A CA's certificate begins a day before it is made.
    for (const [key, days] of Object.entries({ ca: 1, log: 2, nonce: 3, intent: 4, ear: 3 })) {
      const dueMs = ((await due()).value("hullmark_key_due_timestamp_seconds", { key, state: "in-use" }) ?? 0) * 1000;
      expect(Math.abs(dueMs - startedMs - days * DAY_MS)).toBeLessThan(DAY_MS / 2);
    }
    // By half a day each, so that it does not matter how long this takes.
    old.clock.shiftMs = 2.5 * DAY_MS;
    expect(await told()).toEqual(["key-old 3 hullmark keys rotate ca", "key-old 2 hullmark keys rotate log"]);
    old.clock.shiftMs = 4.5 * DAY_MS;
    expect(await told()).toEqual(
      expect.arrayContaining(
        ["5 hullmark keys rotate ca", ...["log", "nonce", "intent"].map((name) => `4 hullmark keys rotate ${name}`)].map((each) => `key-old ${each}`),
      ),
    );
    await old.adminClient.rotateKey({ name: "nonce", reason: "due" });
    // Its age is that of its file, which the machine's clock has dated.
    expect((await due()).value("hullmark_key_due_timestamp_seconds", { key: "nonce", state: "in-use" })).toBeGreaterThan(startedMs / 1000 + 2.5 * 86_400);
  } finally {
    await old.dispose();
  }
});
