/** Two real TPMs of which one is copied, rolled back and asked for the other: whatever a stranger makes of them speaks for no node. */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tpm2Quoter } from "@hullmark/agent/adapters/tpm2/index";
import type { Challenge } from "@hullmark/proto/v1/attestation";
import { Verdict } from "@hullmark/proto/v1/common";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Attester } from "../fakes/attester.ts";
import { Swtpm } from "../fakes/swtpm.ts";
import { TestVerifier } from "../fakes/verifier.ts";

interface Node {
  readonly tpm: Swtpm;
  quoter: Tpm2Quoter;
  readonly stateDir: string;
}

/** A node lives for ten minutes after its last message: what real TPMs take is no end of it. */
const PATIENT = "apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: patient }\nspec: { intervals: { heartbeat: 5m, quote: 1h } }\n";

let directory: string;
let verifier: TestVerifier;
let [a, b]: Node[] = [];
const open: Attester[] = [];
const nodes: Node[] = [];

function nodeOf(tpm: Swtpm, stateDir: string): Node {
  const node = { tpm, stateDir, quoter: new Tpm2Quoter({ tcti: tpm.tcti, stateDir }) };
  nodes.push(node);
  return node;
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-adversary-"));
  for (const name of ["a", "b"]) nodeOf(await Swtpm.start({ withoutEkCertificate: true }), mkdtempSync(join(directory, `${name}-`)));
  [a, b] = nodes;
  verifier = new TestVerifier();
  const policyFile = verifier.policy(PATIENT);
  await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${policyFile}`);
});
afterEach(async () => {
  for (const attester of open.splice(0)) await attester.close();
});
afterAll(async () => {
  for (const { quoter, tpm } of nodes) {
    await quoter.close();
    await tpm.stop();
  }
  await verifier.dispose();
  rmSync(directory, { recursive: true });
});

/** Connected, its state told, and asked for a quote that it has not answered. */
async function attesting(name: string, { quoter }: Node, before?: Attester): Promise<Attester> {
  const attester = verifier.attester({ name, quoter, ...(before ? { bootId: before.bootId } : {}) });
  open.push(attester);
  attester.answering = false;
  await attester.connect();
  await attester.report();
  return attester;
}
async function challenged(attester: Attester, name: string) {
  attester.received.length = 0;
  await verifier.adminClient.requestQuote({ nodeId: name });
  return await attester.next("challenge");
}
const refusal = (name: string) => async (): Promise<string | undefined> =>
  (await verifier.query.getNode({ id: name })).node?.reasons.find(({ code }) => code === "quote-refused")?.detail;
const codes = (name: string) => async (): Promise<string[]> => ((await verifier.query.getNode({ id: name })).node?.reasons ?? []).map(({ code }) => code);
const verdict = (name: string) => async (): Promise<Verdict | undefined> => (await verifier.query.getNode({ id: name })).node?.verdict;
const openDrifts = async (): Promise<string[]> => (await verifier.query.listDrift({})).drifts.map(({ kind, summary }) => `${kind}: ${summary}`);
const patient = { timeout: 30_000 };
/** What a relay has in its hands. */
const quoted = ({ attest, signature, pcrs }: Awaited<ReturnType<Attester["quote"]>>) => ({ attest, signature, pcrs });

/** Switched off and on again, as a host is. */
async function cycle(node: Node, whileOff: () => Promise<void> = async () => undefined): Promise<void> {
  await node.quoter.close();
  await node.tpm.powerOff();
  await whileOff();
  await node.tpm.powerOn();
  node.quoter = new Tpm2Quoter({ tcti: node.tpm.tcti, stateDir: node.stateDir });
}

/** All that the first node keeps, taken while it was off; both run then. */
async function copied(): Promise<Node> {
  const { tpm, stateDir } = a as Node;
  const kept = mkdtempSync(join(directory, "copy-"));
  const copies: Swtpm[] = [];
  await cycle(a as Node, async () => {
    copies.push(await tpm.copy());
    cpSync(stateDir, kept, { recursive: true });
  });
  const copy = nodeOf(copies[0] as Swtpm, kept);
  await copy.tpm.powerOn();
  return copy;
}

test("a node that another one answers for is refused by name, whatever of the answer is its own; the one that was made to answer is not harmed", async () => {
  const [one, two] = [await attesting("w-1", a as Node), await attesting("w-2", b as Node)];
  const lies: readonly [(challenge: Challenge) => Promise<Awaited<ReturnType<Attester["quote"]>>>, RegExp][] = [
    // The honest one's TPM over all that was asked of the other.
    [async (challenge) => await one.quote(challenge, b?.quoter), /^wrong-signer/],
    // The honest one with the other's nonce: it binds its own name, key and Evidence, as it always does.
    [async (challenge) => await two.quote(challenge), /^evidence-digest/],
    // The same, and what stands beside the quote is made to fit.
    [async (challenge) => ({ ...(await one.quote(challenge)), ...quoted(await two.quote(challenge)) }), /^wrong-signer/],
    // Its own TPM, for what the honest one's session is.
    [async (challenge) => await one.quote(challenge, undefined, two.credential?.nodeId), /^wrong-binding/],
  ];
  for (const [lie, code] of lies) {
    one.send({ case: "quote", value: await lie(await challenged(one, "w-1")) });
    await expect.poll(refusal("w-1"), patient).toMatch(code);
    one.send({ case: "quote", value: await one.quote(await challenged(one, "w-1")) });
    await expect.poll(verdict("w-1"), patient).toBe(Verdict.WARNING);
  }
  two.send({ case: "quote", value: await two.quote(await challenged(two, "w-2")) });
  await expect.poll(verdict("w-2"), patient).toBe(Verdict.WARNING);
});

test("a TPM's own quote counts in the session and for the client key that it was made for, and in no other", async () => {
  const first = await attesting("w-1", a as Node);
  const [asked, own] = [await challenged(first, "w-1"), first.credential];
  // The same node with a fresh key, as after a restart of its agent.
  const second = await attesting("w-1", a as Node, first);
  second.send({ case: "quote", value: await first.quote(asked) });
  await expect.poll(refusal("w-1"), patient).toMatch(/^nonce: answers no open challenge/);
  second.send({ case: "quote", value: await second.quote(await challenged(second, "w-1")) });
  await expect.poll(refusal("w-1"), patient).toBeUndefined();
  const fresh = second.credential;
  expect(own?.spkiSha256.equals(fresh?.spkiSha256 ?? Buffer.alloc(0))).toBe(false);
  for (const [credential, result] of [
    [own, /^wrong-binding/],
    [fresh, undefined],
  ] as const) {
    const challenge = await challenged(second, "w-1");
    second.credential = credential;
    second.send({ case: "quote", value: await second.quote(challenge) });
    second.credential = fresh;
    if (result) await expect.poll(refusal("w-1"), patient).toMatch(result);
    else await expect.poll(verdict("w-1"), patient).toBe(Verdict.WARNING);
  }
});

test("a copy of the TPM's state and of all that the node keeps is refused at enrolment, in a session of its own and in the node's; and the node is told to be cloned", async () => {
  const copy = await copied();
  // The node goes on; the copy stands where the node was, which is also what a TPM that was rolled back is.
  await cycle(a as Node);
  const node = await attesting("w-1", a as Node);
  node.send({ case: "quote", value: await node.quote(await challenged(node, "w-1")) });
  await expect.poll(verdict("w-1"), patient).toBe(Verdict.WARNING);
  const thief = verifier.attester({ name: "w-1", quoter: copy.quoter });
  await expect(thief.enrol()).rejects.toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "QUOTE", refusal: "reset-count-went-back" } });
  node.send({ case: "quote", value: await node.quote(await challenged(node, "w-1"), copy.quoter) });
  await expect.poll(refusal("w-1"), patient).toMatch(/^reset-count-went-back/);
  node.send({ case: "quote", value: await node.quote(await challenged(node, "w-1")) });
  await expect.poll(verdict("w-1"), patient).toBe(Verdict.WARNING);
  // With the certificate that the node holds.
  thief.credential = node.credential;
  await expect(thief.connect()).rejects.toMatchObject({ code: "ABORTED", detail: { reason: "NODE_IN_USE" } });
  verifier.clock.shiftMs += 200_000;
  node.send({ case: "heartbeat", value: { seq: node.seq } });
  await expect.poll(openDrifts, patient).toEqual([`cloned: boot ${thief.bootId} speaks as this node too`]);
  expect(await verdict("w-1")()).toBe(Verdict.CONTRAINDICATED);
  await verifier.adminClient.allowNode({ node: "w-1" });
  await expect.poll(openDrifts, patient).toEqual([]);
});

test("a copy that enrols when it is ahead of the node is found by the node, whose quotes do not hold any more", async () => {
  const copy = await copied();
  await cycle(copy);
  const node = await attesting("w-1", a as Node);
  const thief = verifier.attester({ name: "w-1", quoter: copy.quoter });
  await thief.enrol();
  await expect(thief.connect()).rejects.toMatchObject({ detail: { reason: "NODE_IN_USE" } });
  node.send({ case: "quote", value: await node.quote(await challenged(node, "w-1")) });
  await expect.poll(refusal("w-1"), patient).toMatch(/^reset-count-went-back/);
  await expect.poll(openDrifts, patient).toEqual([expect.stringMatching(/^quote-refused: reset-count-went-back/)]);
  // The way back, when the copy is gone: an attestation key that it has not.
  await node.close();
  await cycle(a as Node, async () => rmSync(join(a?.stateDir ?? "", "ak.json")));
  const again = await attesting("w-1", a as Node, node);
  again.send({ case: "quote", value: await again.quote(await challenged(again, "w-1")) });
  await expect.poll(openDrifts, patient).toEqual([]);
  await expect.poll(verdict("w-1"), patient).toBe(Verdict.WARNING);
  await verifier.adminClient.allowNode({ node: "w-1" });
  await expect.poll(codes("w-1"), patient).not.toContain("ak-replaced");
});

test("a copy that makes itself a new attestation key, to which no counter goes back, is refused while the node lives, and told until somebody approves it where it comes meanwhile", async () => {
  const copy = await copied();
  await copy.quoter.close();
  rmSync(join(copy.stateDir, "ak.json"));
  copy.quoter = new Tpm2Quoter({ tcti: copy.tpm.tcti, stateDir: copy.stateDir });
  const node = await attesting("w-1", a as Node);
  const thief = verifier.attester({ name: "w-1", quoter: copy.quoter });
  await expect(thief.enrol()).rejects.toMatchObject({ code: "ABORTED", detail: { reason: "CONFLICT", refusal: "node-in-use" } });
  node.send({ case: "quote", value: await node.quote(await challenged(node, "w-1")) });
  await expect.poll(verdict("w-1"), patient).toBe(Verdict.WARNING);
  expect(await codes("w-1")()).not.toContain("ak-replaced");
  // The node speaks on: there are two.
  verifier.clock.shiftMs += 200_000;
  node.send({ case: "heartbeat", value: { seq: node.seq } });
  await expect.poll(openDrifts, patient).toEqual([`cloned: boot ${thief.bootId} speaks as this node too`]);
  await node.close();
  await expect.poll(async () => (await verifier.query.getNode({ id: "w-1" })).node?.connected, patient).toBe(false);
  open.push(thief);
  await thief.connect();
  await thief.report();
  await expect.poll(codes("w-1"), patient).toContain("ak-replaced");
  await verifier.adminClient.allowNode({ node: "w-1" });
  await expect.poll(codes("w-1"), patient).not.toContain("ak-replaced");
  await expect.poll(openDrifts, patient).toEqual([]);
});
