/**
 * Who may speak as a node, held against real TPMs, real TLS and the verifier as shipped: scripted nodes say what no honest agent says,
 * and every lie is refused by its name, shown, alerted and logged.
 */
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { Tpm2Quoter } from "@hullmark/agent/adapters/tpm2/index";
import { RpcChannel, type RpcError } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { Attestation } from "@hullmark/proto/v1/attestation";
import { Query } from "@hullmark/proto/v1/query";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFailed, test } from "vitest";
import { tail } from "../../deploy/stack/stack.ts";
import { startTpm, type Tpm } from "../../deploy/testbed/tpm.ts";
import { Attester } from "../fakes/attester.ts";
import { HttpReceiver } from "../fakes/http-receiver.ts";
import { believed, drifts, eventually, type FaultBed, logEntries, nodes, SHORT_INTERVALS, startFaultBed, type ToldNode, verifyLog } from "./fault-support.ts";
import { asAdmin, challenged, flipped, LIES, refusals, total, type VerifierAddress, verifierAddress } from "./quote-lies.ts";

let faults: FaultBed;
let receiver: HttpReceiver;
let stranger: Tpm;
let address: VerifierAddress;
const quoters: Tpm2Quoter[] = [];
let attesters: Attester[] = [];

beforeAll(async () => {
  receiver = await new HttpReceiver().start();
  const alerts = `  alerts:\n    routes:\n      - { name: hook, type: webhook, url: "${receiver.url}/", minSeverity: info, maxPerMinute: 600 }\n`;
  faults = await startFaultBed("identity", { tpms: 3 }, { agents: 2, policy: SHORT_INTERVALS + alerts });
  // A TPM has one user at a time: the agents come back at the end.
  for (const agent of faults.stack.agents) await agent.stop();
  stranger = await startTpm(join(faults.bed.directory, "stranger"), faults.bed.env);
  address = verifierAddress(faults.stack);
  for (const [i, tpm] of [...faults.bed.tpms, stranger].entries()) {
    const stateDir = join(faults.bed.directory, `quoter-${i}`);
    mkdirSync(stateDir);
    quoters.push(new Tpm2Quoter({ tcti: tpm.tcti, stateDir }));
  }
});
afterEach(async () => {
  for (const attester of attesters) await attester.close();
  attesters = [];
});
afterAll(async () => {
  for (const quoter of quoters) await quoter.close();
  await stranger?.stop();
  await faults?.bed.down();
  await receiver?.[Symbol.asyncDispose]();
});

const quoterOf = (index: number): Tpm2Quoter => {
  const quoter = quoters[index];
  if (!quoter) throw new Error(`no TPM ${index}`);
  return quoter;
};

function scripted(index: number, bootId?: string): Attester {
  const attester = new Attester({ ...address, name: `node-${index}`, quoter: quoterOf(index), ...(bootId === undefined ? {} : { bootId }) });
  attesters.push(attester);
  return attester;
}

const told = async (index = 0) => (await nodes(faults.stack)).find(({ name }) => name === `node-${index}`);
async function becomes(what: string, holds: (node: ToldNode) => boolean, index = 0): Promise<ToldNode> {
  const node = await eventually(
    what,
    () => told(index),
    (each) => each !== undefined && holds(each),
    30_000,
  );
  if (!node) throw new Error(`node-${index} is not listed`);
  return node;
}

/** A node that was believed a moment ago; it answers challenges only when the test lets it. */
async function honest(index = 0): Promise<Attester> {
  onTestFailed(() => console.error(tail(join(faults.bed.directory, "verifier.log"))));
  const attester = scripted(index);
  await attester.connect();
  await attester.report();
  await becomes("the honest node is believed", believed, index);
  attester.answering = false;
  return attester;
}

describe("a quote that is not this node's, not now, or not of this state", () => {
  test.each(LIES)("$name is refused by name: shown, alerted, logged, and forgiven by a good one", async ({ code, make }) => {
    const attester = await honest();
    await asAdmin(faults.stack, async (channel) => {
      const old = await attester.quote(await challenged(attester, channel));
      attester.send({ case: "quote", value: old });
      const before = new Set((await drifts(faults.stack)).map(({ id }) => id));
      attester.send({ case: "quote", value: await make(attester, await challenged(attester, channel), old, quoterOf(1)) });
      const node = await becomes("the lie is seen", ({ verdict }) => verdict === "contraindicated");
      const refusal = node.reasons.find(({ code }) => code === "quote-refused");
      expect(refusal?.detail).toMatch(code);
      expect((await faults.stack.hullmark("nodes")).stdout).toContain("quote-refused");
      const drift = (await drifts(faults.stack)).find(({ id, kind }) => kind === "quote-refused" && !before.has(id));
      expect(drift).toMatchObject({ state: "open", node: { name: "node-0" } });
      await receiver.waitFor(({ body }) => (body.includes(drift?.id ?? "none") && body.includes("quote-refused") ? true : undefined));
      const entries = await eventually(
        "the refusal is in the log",
        () => logEntries(faults.stack),
        (all) => all.some((entry) => entry["id"] === drift?.id),
      );
      expect(entries.filter((entry) => entry["action"] === "quote-refused" && code.test(String(entry["reason"])))).not.toEqual([]);
      attester.send({ case: "quote", value: await attester.quote(await challenged(attester, channel)) });
      await becomes("a good quote is believed again", believed);
    });
  });

  test("whatever bit of attestation or signature is flipped: none is believed, each is refused", async () => {
    const attester = await honest();
    await asAdmin(faults.stack, async (channel) => {
      const logged = async (): Promise<number> => (await logEntries(faults.stack)).filter((entry) => entry["action"] === "quote-refused").length;
      const refused = async (): Promise<number> => total(await refusals(faults.stack));
      const [before, loggedBefore] = [await refused(), await logged()];
      const lastQuote = (await channel.client(Query).getNode({ id: "node-0" })).node?.lastQuote;
      let flips = 0;
      const { attest, signature } = await attester.quote(await challenged(attester, channel));
      // One bit of each byte, another one from byte to byte: every bit is flipped against the same code in the property tests.
      for (const [part, length] of [
        ["attest", attest.length],
        ["signature", signature.length],
      ] as const)
        for (let byte = 0; byte < length; byte++) {
          const quote = await attester.quote(await challenged(attester, channel));
          // A signature may be shorter by a byte than the one that was measured.
          if (byte >= quote[part].length) continue;
          attester.send({ case: "quote", value: { ...quote, [part]: flipped(quote[part], byte * 8 + ((byte * 5) & 7)) } });
          flips++;
        }
      await eventually("every flip is a refusal", refused, (count) => count >= before + flips);
      expect(await refused()).toBe(before + flips);
      // The log, which only grows, has the first ones of each minute.
      expect(await logged()).toBeGreaterThanOrEqual(loggedBefore + 25);
      expect((await channel.client(Query).getNode({ id: "node-0" })).node?.lastQuote).toEqual(lastQuote);
      expect(await told()).toMatchObject({ verdict: "contraindicated" });
      attester.send({ case: "quote", value: await attester.quote(await challenged(attester, channel)) });
      await becomes("a good quote is believed again", believed);
    });
  });
});

describe("Evidence that does not continue what is on record", () => {
  test("a number is missing", async () => {
    const attester = await honest();
    attester.evidence([]);
    attester.send({ case: "evidence", value: { body: attester.evidence([]) } });
    expect(await attester.ended()).toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "EVIDENCE_GAP" } });
  });

  test.each([
    ["another Evidence of a number on record", (attester: Attester) => attester.evidence([], [], (body) => Object.assign(body, { seq: attester.seq }))],
    [
      "one that continues another chain",
      (attester: Attester) => attester.evidence([], [], (body) => Object.assign(body, { previousDigest: Buffer.alloc(32, 9) })),
    ],
  ])("%s is a fork: the node is contraindicated, alerted and logged", async (_name, forge) => {
    const attester = await honest();
    attester.send({ case: "evidence", value: { body: forge(attester) } });
    expect(await attester.ended()).toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "CHAIN_FORK" } });
    const node = await becomes("the fork is seen", ({ verdict }) => verdict === "contraindicated");
    expect(node.reasons.map(({ code }) => code)).toContain("chain-broken");
    const drift = (await drifts(faults.stack)).find(({ kind, state }) => kind === "chain-broken" && state === "open");
    await receiver.waitFor(({ body }) => (body.includes(drift?.id ?? "none") ? true : undefined));
    await eventually(
      "the fork is in the log",
      () => logEntries(faults.stack),
      (all) => all.some((entry) => entry["id"] === drift?.id),
    );
  });

  test("node B's Evidence in node A's session", async () => {
    const a = await honest(0);
    const b = await honest(1);
    a.send({ case: "evidence", value: { body: b.evidence([]) } });
    expect(await a.ended()).toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "CHAIN_FORK" } });
    expect(await told(1)).toSatisfy(believed);
  });
});

describe("who speaks", () => {
  const rejection = (work: Promise<unknown>): Promise<RpcError> =>
    work.then(
      () => expect.fail("was not refused"),
      (error: unknown) => error as RpcError,
    );

  test("a second live session of one identity, from another boot: the newcomer is refused; as the first speaks on: shown, alerted, logged, until a person ends it", async () => {
    const first = await honest();
    const second = scripted(0);
    second.credential = first.credential;
    expect(await rejection(second.connect())).toMatchObject({ code: "ABORTED", detail: { reason: "NODE_IN_USE" } });
    const beat = setInterval(() => first.send({ case: "heartbeat", value: { seq: first.seq } }), 500);
    try {
      const node = await becomes("the copy is seen", ({ reasons }) => reasons.some(({ code }) => code === "cloned"));
      expect(node).toMatchObject({ verdict: "contraindicated" });
      const detail = `boot ${second.bootId} speaks as this node too`;
      expect((await faults.stack.hullmark("nodes")).stdout).toContain("cloned");
      expect((await faults.stack.hullmark("node", "show", "node-0")).stdout).toContain(detail);
      const drift = (await drifts(faults.stack)).find(({ kind, state }) => kind === "cloned" && state === "open");
      await receiver.waitFor(({ body }) => (body.includes(drift?.id ?? "none") && body.includes("cloned") ? true : undefined));
      const entries = await eventually(
        "attempt and alarm are in the log",
        () => logEntries(faults.stack),
        (all) => all.some((entry) => entry["id"] === drift?.id),
      );
      expect(entries.some((entry) => entry["action"] === "session-refused" && entry["boot"] === second.bootId)).toBe(true);
      expect(entries.some((entry) => entry["action"] === "cloned" && entry["detail"] === detail)).toBe(true);
      await faults.stack.hullmark("node", "approve", "node-0");
      await becomes("a person's word ends it", ({ reasons }) => reasons.every(({ code }) => code !== "cloned"));
    } finally {
      clearInterval(beat);
    }
  });

  test("a second session of the same boot takes over, the first is told, and it is logged", async () => {
    const first = await honest();
    const second = scripted(0, first.bootId);
    second.credential = first.credential;
    await second.connect();
    expect(await first.ended()).toMatchObject({ code: "ABORTED", detail: { reason: "SUPERSEDED" } });
  });

  test("a genuine TPM that is not on the allow-list", async () => {
    expect(await rejection(scripted(2).enrol())).toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "NOT_ALLOWED" } });
  });

  test("a TPM whose EK certificate another maker signed", async () => {
    const error = await rejection(scripted(3).enrol());
    expect(error).toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "CERTIFICATE" } });
    expect((await nodes(faults.stack)).map(({ name }) => name)).not.toContain("node-3");
  });

  test("a person's certificate does not attest", async () => {
    const error = await asAdmin(faults.stack, (channel) =>
      rejection(
        (async () => {
          for await (const _ of channel.client(Attestation).attest((async function* () {})())) expect.fail("answered");
        })(),
      ),
    );
    expect(error).toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "ROLE" } });
  });

  test("a node's certificate neither asks nor administers", async () => {
    const { privateKey, certificateChain, nodeId } = await scripted(0).enrol();
    const channel = new RpcChannel(address.mainAddress, credentials.createSsl(address.ca, Buffer.from(privateKey), Buffer.from(certificateChain)));
    try {
      for (const call of [channel.client(Query).listNodes({}), channel.client(Query).listDrift({}), channel.client(Admin).revokeNode({ nodeId, reason: "x" })])
        expect(await rejection(call)).toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "ROLE" } });
    } finally {
      channel.close();
    }
  });

  /** A node's certificate for a new key, by the CA in `stateDir`, as of `offsetMs` from now. */
  async function certified(stateDir: string, nodeId: string, offsetMs: number) {
    const authority = await X509Ca.open({ stateDir, region: "identity", clock: { nowMs: () => Date.now() + offsetMs } });
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const { chain } = await authority.issueNode(nodeId, publicKey.export({ type: "spki", format: "der" }), 3_600_000);
    const certificateChain = chain.map((der) => `-----BEGIN CERTIFICATE-----\n${der.toString("base64")}\n-----END CERTIFICATE-----\n`).join("");
    return { certificateChain, privateKey: String(privateKey.export({ type: "pkcs8", format: "pem" })) };
  }

  test("an expired certificate, and one by another CA with the same names, end at TLS", async () => {
    const honestNode = await honest();
    const { credential } = honestNode;
    if (!credential) throw new Error("not enrolled");
    await honestNode.close();
    const own = join(faults.stack.directory, "verifier/ca");
    const foreign = join(faults.bed.directory, "foreign-ca");
    for (const [stateDir, offsetMs] of [
      [own, -2 * 3_600_000],
      [foreign, 0],
    ] as const) {
      const attester = scripted(0, honestNode.bootId);
      attester.credential = { ...credential, ...(await certified(stateDir, credential.nodeId, offsetMs)) };
      expect(await rejection(attester.connect())).toMatchObject({ code: expect.stringMatching(/^UNAVAILABLE$|^UNAUTHENTICATED$/) });
    }
    // The same made now is taken by TLS: it is the lifetime that was refused.
    const attester = scripted(0, honestNode.bootId);
    attester.credential = { ...credential, ...(await certified(own, credential.nodeId, 0)) };
    await attester.connect();
  });
});

test("after all that the real agents come back and are believed, and the log holds", async () => {
  for (const quoter of quoters) await quoter.close();
  for (const agent of faults.stack.agents) await agent.start();
  for (const index of [0, 1]) await becomes(`node-${index} is believed`, (node) => believed(node) && node.connected, index);
  await verifyLog(faults.stack);
});
