import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@hullmark/agent/adapters/clock/system-clock";
import type { Credential } from "@hullmark/agent/adapters/grpc/enrolment";
import { renew } from "@hullmark/agent/adapters/grpc/enrolment";
import { GrpcSink } from "@hullmark/agent/adapters/grpc/grpc-sink";
import type { OutgoingMessage } from "@hullmark/agent/ports/evidence-sink";
import { CHAIN_START } from "@hullmark/proto/codec";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FakeQuoter } from "../fakes/quoter.ts";
import { startSilentRelay } from "../fakes/silent-relay.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14];
let verifier: TestVerifier;
let directory: string;
let files = 0;

beforeAll(async () => {
  verifier = await new TestVerifier().start();
  directory = mkdtempSync(join(tmpdir(), "hullmark-node-"));
});
afterAll(async () => {
  await verifier.dispose();
  rmSync(directory, { recursive: true });
});

const newFile = (): string => join(directory, `credential-${files++}.json`);
const token = async (nodeName: string): Promise<string> => (await verifier.adminClient.createJoinToken({ nodeName, ttlSeconds: 60 })).token;

/** One life of an agent's process: opens a stream, is welcomed, and closes it. */
async function live(nodeName: string, credentialFile: string, joinToken: string | undefined, quoter?: FakeQuoter, offsetMs = 0): Promise<Credential> {
  let enrolled: Credential | undefined;
  const { mainAddress, ca } = verifier;
  const enrolmentAddress = verifier.attester({ name: nodeName }).options.enrolmentAddress;
  const sink = new GrpcSink({
    address: mainAddress,
    clock: { ...systemClock, nowMs: () => Date.now() + offsetMs },
    credentialFile,
    joinToken: () => joinToken,
    enrolment: { address: enrolmentAddress, caCertificate: ca, nodeName, bootId: randomUUID(), quoter, pcrs: PCRS },
    enrolled: (credential) => {
      enrolled = credential;
    },
  });
  await welcomed(sink);
  if (!enrolled) throw new Error("not enrolled");
  return enrolled;
}

/** One stream: opened, welcomed, closed. @param then called once it is welcomed: instead of being closed, the stream stays open until it fails */
async function welcomed(sink: GrpcSink, then?: () => void): Promise<void> {
  const stop = new AbortController();
  async function* hello(): AsyncGenerator<OutgoingMessage> {
    const value = { protocolVersion: 1, agentVersion: "0.1.0", bootId: randomUUID(), lastSeq: 0n, lastDigest: CHAIN_START, chainId: Buffer.alloc(16, 1) };
    yield { message: { case: "hello", value } };
    await new Promise<void>((resolve) => stop.signal.addEventListener("abort", () => resolve(), { once: true }));
  }
  try {
    for await (const response of sink.connect(hello(), stop.signal)) {
      if (!then) expect(response.message.case).toBe("welcome");
      if (!then) break;
      if (response.message.case === "welcome") then();
    }
  } finally {
    stop.abort();
  }
}

test("a restart within the certificate's life needs no token, and gets a fresh key", async () => {
  const file = newFile();
  const first = await live("plain-1", file, await token("plain-1"));
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const second = await live("plain-1", file, undefined);
  expect(second.nodeId).toBe(first.nodeId);
  expect(second.spkiSha256).not.toEqual(first.spkiSha256);
  expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({ nodeId: first.nodeId, spkiSha256: second.spkiSha256.toString("hex") });
});

test.each([
  ["ahead", 5 * 3_600_000],
  ["behind", -5 * 3_600_000],
])(
  "a certificate's life is counted from when it came: a clock that is hours %s of the verifier's neither renews without end nor too late",
  async (way, offsetMs) => {
    const name = `skewed-${way}`;
    const file = newFile();
    const wall = { offsetMs };
    const enrolled: number[] = [];
    const options = verifier.attester({ name }).options;
    const joinToken = await token(name);
    const sink = new GrpcSink({
      ...{ address: verifier.mainAddress, credentialFile: file, joinToken: () => joinToken },
      clock: { ...systemClock, nowMs: () => Date.now() + wall.offsetMs },
      enrolment: { address: options.enrolmentAddress, caCertificate: verifier.ca, nodeName: name, bootId: randomUUID(), quoter: undefined, pcrs: PCRS },
      enrolled: (_credential, notAfterMs) => enrolled.push(notAfterMs - Date.now()),
    });
    for (let i = 0; i < 3; i++) await welcomed(sink);
    // By its own clock, an hour from when it was asked for.
    expect(enrolled).toEqual([expect.closeTo(offsetMs + 3_600_000, -6)]);
    await live(name, file, undefined, undefined, offsetMs);
    // The clock is put right, as NTP does after a start: what is held stays valid, and is renewed by itself, for its token is spent.
    wall.offsetMs = 0;
    await welcomed(sink);
    expect(enrolled).toHaveLength(way === "behind" ? 2 : 1);
  },
);

test("after it, the error names the way to a new token; with that the node is the same one again", async () => {
  const file = newFile();
  const used = await token("plain-2");
  const first = await live("plain-2", file, used);
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), notAfterMs: Date.now() - 1 }));
  await expect(live("plain-2", file, undefined)).rejects.toMatchObject({
    code: "TOKEN_NEEDED",
    message: expect.stringContaining("hullmark node token plain-2"),
  });
  await expect(live("plain-2", file, used)).rejects.toMatchObject({ code: "TOKEN_NEEDED", message: expect.stringContaining("used, expired or unknown") });
  expect((await live("plain-2", file, await token("plain-2"))).nodeId).toBe(first.nodeId);
});

test("a certificate of another CA is given up for the token", async () => {
  const other = await new TestVerifier().start();
  try {
    const stranger = other.attester({ name: "plain-3", joinToken: (await other.adminClient.createJoinToken({ nodeName: "plain-3", ttlSeconds: 60 })).token });
    const { spkiSha256, lifetimeMs, ...rest } = await stranger.enrol();
    const file = newFile();
    writeFileSync(file, JSON.stringify({ ...rest, notAfterMs: Date.now() + lifetimeMs, spkiSha256: spkiSha256.toString("hex") }));
    expect((await live("plain-3", file, await token("plain-3"))).nodeId).not.toBe(rest.nodeId);
  } finally {
    await other.dispose();
  }
});

test("an agent that runs follows a verifier that was made anew, as soon as it is brought the new CA", async () => {
  const other = await new TestVerifier().start();
  try {
    let at = verifier;
    let tokens = [await token("plain-5"), (await other.adminClient.createJoinToken({ nodeName: "plain-5", ttlSeconds: 60 })).token];
    const enrolled: string[] = [];
    const sink = new GrpcSink({
      clock: systemClock,
      credentialFile: newFile(),
      joinToken: () => tokens[0],
      get address() {
        return at.mainAddress;
      },
      enrolment: {
        ...{ nodeName: "plain-5", bootId: randomUUID(), quoter: undefined, pcrs: PCRS },
        get address() {
          return at.attester({ name: "plain-5" }).options.enrolmentAddress;
        },
        get caCertificate() {
          return at.ca;
        },
      },
      enrolled: ({ nodeId }) => enrolled.push(nodeId),
    });
    await welcomed(sink);
    tokens = tokens.slice(1);
    await welcomed(sink);
    expect(enrolled).toHaveLength(1);
    at = other;
    await welcomed(sink);
    expect(enrolled).toHaveLength(2);
    const { nodes } = await other.query.listNodes({});
    expect(nodes).toMatchObject([{ id: enrolled[1], name: "plain-5" }]);
  } finally {
    await other.dispose();
  }
});

test("what takes a connection and says nothing is given up, sooner at first than later, for a verifier to which a whole fleet comes back is slow", async () => {
  await using relay = await startSilentRelay(verifier.mainAddress);
  const [joinToken, address] = [await token("plain-6"), `localhost:${relay.port}`];
  let answer = { firstMs: 60_000, mostMs: 60_000 };
  const sink = new GrpcSink({
    get answer() {
      return answer;
    },
    ...{ address, clock: systemClock, credentialFile: newFile(), joinToken: () => joinToken, enrolled: () => {} },
    enrolment: {
      ...{ address: verifier.attester({ name: "plain-6" }).options.enrolmentAddress, caCertificate: verifier.ca, nodeName: "plain-6" },
      ...{ bootId: randomUUID(), quoter: undefined, pcrs: PCRS },
    },
  });
  const givenUp = async (): Promise<string> => {
    const error = await welcomed(sink).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: "NO_ANSWER", message: expect.stringContaining(address) });
    return /within (\S+) s/.exec((error as Error).message)?.[1] ?? "";
  };
  /** To the end of its stream: the next is another boot's, which the verifier takes once this one is gone. */
  const heard = async (): Promise<void> => {
    relay.speak();
    answer = { firstMs: 60_000, mostMs: 60_000 };
    await welcomed(sink);
    await expect.poll(async () => (await verifier.query.listNodes({})).nodes.find(({ name }) => name === "plain-6")?.connected).toBe(false);
  };
  const fallSilent = (): void => {
    relay.fallSilent();
    answer = { firstMs: 200, mostMs: 700 };
  };
  await heard();
  fallSilent();
  expect([await givenUp(), await givenUp(), await givenUp(), await givenUp()]).toEqual(["0.2", "0.4", "0.7", "0.7"]);
  await heard();
  fallSilent();
  expect(await givenUp()).toBe("0.2");
});

test("a verifier that falls silent, and its address for one more attempt, is heard again within a minute", async () => {
  await using relay = await startSilentRelay(verifier.mainAddress);
  const joinToken = await token("plain-7");
  const sink = new GrpcSink({
    ...{ address: `localhost:${relay.port}`, clock: systemClock, credentialFile: newFile(), joinToken: () => joinToken, enrolled: () => {} },
    enrolment: {
      ...{ address: verifier.attester({ name: "plain-7" }).options.enrolmentAddress, caCertificate: verifier.ca, nodeName: "plain-7" },
      ...{ bootId: randomUUID(), quoter: undefined, pcrs: PCRS },
    },
  });
  const startMs = performance.now();
  await expect(welcomed(sink, () => relay.fallSilent())).rejects.toThrow();
  const before = relay.connections;
  await expect(welcomed(sink)).rejects.toMatchObject({ code: "NO_ANSWER" });
  relay.speak();
  await welcomed(sink);
  expect(relay.connections).toBe(before + 2);
  expect(performance.now() - startMs).toBeLessThan(60_000);
}, 120_000);

test("a revoked node does not renew", async () => {
  const file = newFile();
  const { nodeId } = await live("plain-4", file, await token("plain-4"));
  await verifier.adminClient.revokeNode({ nodeId, reason: "test" });
  await expect(live("plain-4", file, undefined)).rejects.toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "REVOKED" } });
});

test("a node with TPM enrols by quote each time, keeps nothing, and may not renew by certificate", async () => {
  const file = newFile();
  const quoter = new FakeQuoter();
  const first = await live("tpm-1", file, undefined, quoter);
  expect((await live("tpm-1", file, undefined, quoter)).nodeId).toBe(first.nodeId);
  expect(() => statSync(file)).toThrow("ENOENT");
  await expect(renew(verifier.mainAddress, { caCertificate: verifier.ca }, first, new AbortController().signal)).rejects.toMatchObject({
    code: "PERMISSION_DENIED",
    detail: { reason: "NOT_ALLOWED" },
  });
});
