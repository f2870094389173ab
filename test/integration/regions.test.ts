/** Two verifiers of two regions, one real TPM that both know: nothing of one counts in the other, and nothing counts twice. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { Tpm2Quoter } from "@hullmark/agent/adapters/tpm2/index";
import { RpcChannel } from "@hullmark/proto/rpc";
import { Verdict } from "@hullmark/proto/v1/common";
import { Enrollment } from "@hullmark/proto/v1/enrollment";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Attester } from "../fakes/attester.ts";
import { Swtpm } from "../fakes/swtpm.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const BOOT_ID = "5f0c6a55-3d5b-4d5e-8a4f-6f5a3f0f1d11";
let tpm: Swtpm;
let quoter: Tpm2Quoter;
let directory: string;
let here: TestVerifier;
let there: TestVerifier;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-regions-"));
  tpm = await Swtpm.start({ withoutEkCertificate: true });
  quoter = new Tpm2Quoter({ tcti: tpm.tcti, stateDir: directory });
  [here, there] = await Promise.all([new TestVerifier("eu-1").start(), new TestVerifier("us-1").start()]);
});
afterAll(async () => {
  await quoter.close();
  await tpm.stop();
  for (const each of [here, there]) await each.dispose();
  rmSync(directory, { recursive: true });
});
const open: Attester[] = [];
afterEach(async () => {
  for (const attester of open.splice(0)) await attester.close();
});

/** The node as it stands before one of the two, enrolled there, silent where it is asked. */
async function before(verifier: TestVerifier, same?: Attester): Promise<Attester> {
  const attester = verifier.attester({ name: "w-1", quoter, bootId: BOOT_ID });
  open.push(attester);
  attester.answering = false;
  if (same) Object.assign(attester, { chainId: same.chainId, seq: same.seq, digest: same.digest, stateRoot: same.stateRoot, credential: same.credential });
  await attester.connect();
  return attester;
}
const reasons = (verifier: TestVerifier) => async (): Promise<string[]> =>
  (await verifier.query.getNode({ id: "w-1" })).node?.reasons.map(({ code, detail }) => `${code}: ${detail}`) ?? [];

/** Quotes that the other region has refused for this reason. */
const refusedFor = (reason: string) => async (): Promise<number> => {
  const text = await (await fetch(`http://127.0.0.1:${there.running?.httpPort}/metrics`)).text();
  return Number(new RegExp(`^hullmark_quotes_total\\{result="refused",reason="${reason}"\\} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
};

describe("another region", () => {
  test("takes no certificate: of another CA by TLS, and of its own CA by the region in its name", async () => {
    const node = await before(here);
    const foreign = there.attester({ name: "w-1", quoter, bootId: BOOT_ID });
    foreign.credential = node.credential;
    await expect(foreign.connect()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    const eu = await X509Ca.open({ stateDir: join(there.directory, "state/ca"), region: "eu-1", clock: { nowMs: () => Date.now() } });
    const { key, pem } = await there.certify((_, spki) => eu.issueNode(node.credential?.nodeId ?? "", spki, 60_000));
    foreign.credential = { ...(node.credential as NonNullable<Attester["credential"]>), privateKey: key.toString(), certificateChain: pem.toString() };
    await expect(foreign.connect()).rejects.toMatchObject({ code: "UNAUTHENTICATED", detail: { reason: "CERTIFICATE" } });
  });

  test("takes no quote: neither the answer to another region's challenge, nor an answer to its own that is bound to another region or verifier", async () => {
    const [eu, us] = [await before(here), await before(there)];
    await eu.report();
    await us.report();
    const [asked, askedThere] = [await eu.next("challenge"), await us.next("challenge")];
    us.send({ case: "quote", value: await eu.quote(asked) });
    await expect.poll(reasons(there)).toContainEqual(expect.stringMatching(/^quote-refused: nonce: answers no open challenge/));
    // Everything as the other region asks for it, but for the region.
    const truth = us.credential as NonNullable<Attester["credential"]>;
    let challenge = askedThere;
    let count = 0;
    for (const lie of [{ region: "eu-1" }, { verifierId: "v2" }]) {
      us.credential = { ...truth, ...lie };
      us.send({ case: "quote", value: await us.quote(challenge) });
      us.credential = truth;
      await expect.poll(refusedFor("wrong-binding")).toBe(++count);
      await there.adminClient.requestQuote({ nodeId: "w-1" });
      challenge = await us.next("challenge");
    }
    us.send({ case: "quote", value: await us.quote(challenge) });
    await expect.poll(reasons(there)).not.toContainEqual(expect.stringMatching(/quote-refused/));
    eu.send({ case: "quote", value: await eu.quote(asked) });
    await expect.poll(async () => (await here.query.getNode({ id: "w-1" })).node?.verdict).toBe(Verdict.WARNING);
  });

  test("takes no Evidence: another region's continues no chain of its own", async () => {
    const [eu, us] = [await before(here), await before(there)];
    us.chainId = eu.chainId;
    await eu.report();
    const next = eu.evidence([]);
    await us.report();
    us.send({ case: "evidence", value: { body: next } });
    expect(await us.ended()).toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "CHAIN_FORK" } });
  });

  test("takes no second step of an enrolment that began elsewhere", async () => {
    const stranger = (verifier: TestVerifier) =>
      verifier.track(new RpcChannel(`localhost:${verifier.running?.enrolmentPort}`, credentials.createSsl(verifier.ca))).client(Enrollment);
    const { ekPublic, akPublic } = await quoter.identify(new AbortController().signal);
    const evidence = { case: "tpm" as const, value: { ekPublic, akPublic } };
    const begun = await stranger(here).begin({ nodeName: "w-1", bootId: BOOT_ID, evidence });
    await expect(stranger(there).complete({ session: begun.session })).rejects.toMatchObject({
      code: "NOT_FOUND",
      detail: { reason: "UNKNOWN_SESSION" },
    });
  });
});

describe("a verifier that starts again", () => {
  test("knows certificate, chain and quote, and takes neither quote, enrolment nor token a second time", async () => {
    const node = await before(here);
    await node.report();
    const challenge = await node.next("challenge");
    const used = await node.quote(challenge);
    node.send({ case: "quote", value: used });
    await expect.poll(async () => (await here.query.getNode({ id: "w-1" })).node?.lastQuote).toBeDefined();
    await here.adminClient.requestQuote({ nodeId: "w-1" });
    const unused = await node.quote(await node.next("challenge"));
    const { token } = await here.adminClient.createJoinToken({ nodeName: "w-2", ttlSeconds: 600 });
    await here.attester({ name: "w-2", joinToken: token }).enrol();
    const channel = (): RpcChannel => here.track(new RpcChannel(`localhost:${here.running?.enrolmentPort}`, credentials.createSsl(here.ca)));
    const { ekPublic, akPublic } = await quoter.identify(new AbortController().signal);
    const begun = await channel()
      .client(Enrollment)
      .begin({ nodeName: "w-1", bootId: BOOT_ID, evidence: { case: "tpm", value: { ekPublic, akPublic } } });
    await node.close();
    await here.stop();
    await here.start();

    await expect(channel().client(Enrollment).complete({ session: begun.session })).rejects.toMatchObject({ detail: { reason: "UNKNOWN_SESSION" } });
    await expect(here.attester({ name: "w-2", joinToken: token }).enrol()).rejects.toMatchObject({ detail: { reason: "TOKEN" } });
    const quotedMs = (await here.query.getNode({ id: "w-1" })).node?.lastQuote;
    expect(quotedMs).toBeDefined();
    // The same certificate, and no Evidence sent again.
    const back = await before(here, node);
    const head = back.seq;
    await back.report([]);
    expect(back.seq).toBe(head + 1n);
    expect((await reasons(here)()).filter((reason) => /quote-refused|chain-broken|resync|no-quote/.test(reason))).toEqual([]);
    for (const replayed of [used, unused]) {
      back.send({ case: "quote", value: replayed });
      await expect.poll(reasons(here)).toContainEqual(expect.stringMatching(/^quote-refused: nonce/));
      await here.adminClient.requestQuote({ nodeId: "w-1" });
      await back.report([]);
      for (const { message } of back.received.splice(0)) if (message.case === "challenge") back.send({ case: "quote", value: await back.quote(message.value) });
      await expect.poll(reasons(here), { timeout: 10_000 }).not.toContainEqual(expect.stringMatching(/quote-refused/));
    }
  });
});
