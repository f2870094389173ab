import { hash } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Tpm2Quoter } from "@hullmark/agent/adapters/tpm2/index";
import { encodeRecord } from "@hullmark/proto/codec";
import { type Challenge, NodeStateSchema } from "@hullmark/proto/v1/attestation";
import { TrustLevel, Verdict } from "@hullmark/proto/v1/common";
import { DriftState, ProvenanceStatus } from "@hullmark/proto/v1/query";
import { dockerInitLayer, LayerTree, MergedTree } from "@hullmark/verifier/core/reference-value/index";
import type { WorkloadRow } from "@hullmark/verifier/ports/rows";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Attester, ScriptedContainer } from "../fakes/attester.ts";
import { hullmarkOf } from "../fakes/hullmark.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { Swtpm } from "../fakes/swtpm.ts";
import { TPM_CC, TpmProxy } from "../fakes/tpm-proxy.ts";
import { TestVerifier } from "../fakes/verifier.ts";

let verifier: TestVerifier;
let registry: FakeRegistry;
let image: PushedImage;

const file = (content: string, mode = 0o644): Buffer =>
  encodeRecord({ type: "f", mode, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") });
const directory = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });

/** The layer of the pushed image, with `conf` as the content of its one file. */
const layerOf = (conf: string): LayerTree =>
  LayerTree.build([
    { path: Buffer.from("etc"), record: directory, implied: true },
    { path: Buffer.from("etc/app.conf"), record: file(conf), implied: false },
  ]);
const TRUE = "port=80\n";
const init = dockerInitLayer(MergedTree.of([layerOf(TRUE)]));

function container(name: string, change: Partial<ScriptedContainer> = {}): ScriptedContainer {
  return {
    id: name.padEnd(64, "0"),
    name,
    image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
    layers: [
      { id: "layer-0", tree: layerOf(TRUE) },
      { id: `init-${name}`, tree: init, runtimeMade: true },
    ],
    upper: new Map(),
    ...change,
  };
}

beforeEach(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  verifier = await new TestVerifier().start();
});
afterEach(async () => {
  await verifier.dispose();
  await registry.close();
});

const workload = async (name: string) => (await verifier.query.getWorkload({ container: name })).workload;
const reaches = async (name: string, want: Record<string, unknown>): Promise<void> =>
  expect.poll(() => workload(name), { timeout: 10_000 }).toMatchObject(want);

async function attesting(name = "w-1"): Promise<Attester> {
  const attester = verifier.attester({ name, quoter: new FakeQuoter() });
  await attester.connect();
  attester.set(container("web"));
  await attester.report();
  return attester;
}

describe("from Evidence to a result", () => {
  test("an untouched container of an unsigned image: content affirmed, provenance none, under a TPM seen first today", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING, verdict: Verdict.WARNING, configDigest: image.configDigest, openDrifts: 0 });
    const found = await workload("web");
    expect(found?.provenance?.status).toBe(ProvenanceStatus.UNSIGNED);
    expect(found?.nodeName).toBe("w-1");
    const { node } = await verifier.query.getNode({ id: "w-1" });
    expect(node).toMatchObject({ trustLevel: TrustLevel.TPM_TOFU, connected: true, verdict: Verdict.WARNING, containers: 1, id: attester.credential?.nodeId });

    // The node's copy of the image's configuration was measured equal; that nobody tells of another's is no word for it.
    const { reference, configDigest } = container("web").image;
    attester.set(container("unread", { image: { reference, configDigest, untold: true } }));
    await attester.report([container("unread").id]);
    await reaches("unread", { content: Verdict.AFFIRMING, configDigest });
    const stored = new Database(join(verifier.directory, "state/verifier.db"), { readonly: true });
    const rows = stored.prepare<[], { body: string }>("SELECT body FROM workloads").all();
    stored.close();
    const equal = rows.map(({ body }) => JSON.parse(body) as WorkloadRow).map(({ containerName, configEqual }) => [containerName, configEqual] as const);
    expect(Object.fromEntries(equal)).toEqual({ web: true, unread: undefined });
  });

  test("a changed file is a drift that names what, where and who; it resolves when the file is as it was", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    attester.set(
      container("web", {
        upper: new Map([
          ["etc", directory],
          ["etc/app.conf", file("port=81\n")],
        ]),
      }),
    );
    await attester.report([container("web").id]);
    const { drifts } = await verifier.query.listDrift({});
    expect(drifts).toHaveLength(1);
    expect(drifts[0]).toMatchObject({
      kind: "content",
      state: DriftState.OPEN,
      containerName: "web",
      nodeName: "w-1",
      summary: expect.stringContaining("sha256"),
    });
    expect(Buffer.from(drifts[0]?.path ?? "").toString()).toBe("/etc/app.conf");
    expect(drifts[0]?.actor).toMatchObject({ pid: 4711, executable: "/usr/bin/dd" });
    expect(drifts[0]?.origin).toMatchObject({ layerIndex: 0, diffId: image.diffIds[0] });
    expect(drifts[0]?.id).toMatch(/^D-[0-9A-Z]{4}$/);
    expect(drifts[0]?.logIndex).toBeGreaterThan(0n);
    expect((await workload("web"))?.verdict).toBe(Verdict.CONTRAINDICATED);
    attester.set(container("web"));
    await attester.report([container("web").id]);
    expect((await verifier.query.listDrift({})).drifts).toEqual([]);
    expect((await verifier.query.getDrift({ id: drifts[0]?.id ?? "" })).drift?.state).toBe(DriftState.RESOLVED);
    expect((await workload("web"))?.content).toBe(Verdict.AFFIRMING);
  });

  test("an altered layer is descended to the file that differs", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    attester.set(
      container("web", {
        layers: [
          { id: "layer-0", tree: layerOf("port=6666\n") },
          { id: "init-web", tree: init, runtimeMade: true },
        ],
      }),
    );
    await attester.report([container("web").id]);
    await expect
      .poll(async () => (await verifier.query.listDrift({})).drifts, { timeout: 10_000 })
      .toMatchObject([{ kind: "content", origin: { place: "layer", layerIndex: 0 } }]);
    const [drift] = (await verifier.query.listDrift({})).drifts;
    expect(Buffer.from(drift?.path ?? "").toString()).toBe("/etc/app.conf");
  });

  test("a removed container takes its results and drifts with it", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    attester.set(
      container("web", {
        upper: new Map([
          ["etc", directory],
          ["etc/x", file("x")],
        ]),
      }),
    );
    await attester.report([container("web").id]);
    expect((await verifier.query.listDrift({})).drifts).toHaveLength(1);
    attester.containers.clear();
    await attester.report([], [container("web").id]);
    expect((await verifier.query.listDrift({})).drifts).toEqual([]);
    expect((await verifier.query.listWorkloads({})).workloads).toEqual([]);
  });

  test("layers are fetched once, however many containers and restarts", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    attester.set(container("web2"));
    await attester.report([container("web2").id]);
    await reaches("web2", { content: Verdict.AFFIRMING });
    await attester.close();
    await verifier.stop();
    await verifier.start();
    const again = verifier.attester({ name: "w-2", quoter: new FakeQuoter() });
    await again.connect();
    again.set(container("web3"));
    await again.report();
    await reaches("web3", { content: Verdict.AFFIRMING });
    const layerBlobs = registry.requests.filter((line) => line.startsWith("GET") && line.includes("/blobs/") && !line.includes(image.configDigest));
    expect(layerBlobs).toHaveLength(1);
  });

  test("an image that is in no registry is unknown, with the reason", async () => {
    const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
    await attester.connect();
    const built = { reference: `${registry.host}/acme/local:1`, configDigest: `sha256:${"ab".repeat(32)}` };
    attester.set(container("own", { image: built }));
    await attester.report();
    await reaches("own", { verdict: Verdict.UNKNOWN, reasons: [expect.objectContaining({ code: "no-reference" }), expect.anything(), expect.anything()] });
  });
});

describe("what is durable and what is not", () => {
  test("a restarted verifier knows the chain, and goes on from it without a full report", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    attester.set(
      container("web", {
        upper: new Map([
          ["etc", directory],
          ["etc/x", file("x")],
        ]),
      }),
    );
    await attester.report([container("web").id]);
    const [before] = (await verifier.query.listDrift({})).drifts;
    await verifier.stop();
    await attester.ended();
    await verifier.start();
    const back = verifier.attester({
      ...attester.options,
      mainAddress: verifier.mainAddress,
      enrolmentAddress: `localhost:${verifier.running?.enrolmentPort}`,
      bootId: attester.bootId,
    });
    Object.assign(back, { chainId: attester.chainId, seq: attester.seq, digest: attester.digest, stateRoot: attester.stateRoot });
    for (const each of attester.containers.values()) back.set(each);
    await back.connect();
    const welcomed = back.seq;
    expect(welcomed).toBe(2n);
    await back.report([]);
    await reaches("web", { verdict: Verdict.CONTRAINDICATED, openDrifts: 1 });
    const { drifts } = await verifier.query.listDrift({});
    expect(drifts.map(({ id }) => id)).toEqual([before?.id]);
  });

  test("an agent that starts while its engine is away takes no container and no drift off the lists", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    const changed = container("web", {
      upper: new Map([
        ["etc", directory],
        ["etc/x", file("x")],
      ]),
    });
    attester.set(changed);
    await attester.report([changed.id]);
    const drifts = async () => (await verifier.query.listDrift({})).drifts.map(({ id, state }) => ({ id, state }));
    const [before] = await drifts();
    await attester.close();
    // Another chain, as after a spool that was lost: only a full report says what is gone.
    const blind = verifier.attester({ ...attester.options, bootId: attester.bootId });
    const seeing = blind.nodeState;
    const { runtimeReachable: _, ...state } = fromBinary(NodeStateSchema, seeing);
    Object.assign(blind, { nodeState: toBinary(NodeStateSchema, create(NodeStateSchema, { ...state, runtimeReachable: false })) });
    await blind.connect();
    await blind.report();
    expect(await drifts()).toEqual([before]);
    expect((await verifier.query.getNode({ id: "w-1" })).node?.verdict).toBe(Verdict.UNKNOWN);
    Object.assign(blind, { nodeState: seeing });
    blind.set(changed);
    await blind.report();
    expect(await drifts()).toEqual([before]);
    blind.containers.clear();
    await blind.report();
    expect(await drifts()).toEqual([]);
  });

  test("a new file that is written after it was first seen is the same drift with its last content", async () => {
    const attester = await attesting();
    const told = async (content: string) => {
      attester.set(
        container("web", {
          upper: new Map([
            ["etc", directory],
            ["etc/x", file(content)],
          ]),
        }),
      );
      await attester.report([container("web").id]);
      return (await verifier.query.listDrift({})).drifts;
    };
    await reaches("web", { content: Verdict.AFFIRMING });
    const [first] = await told("");
    const after = await told("x");
    expect(after).toHaveLength(1);
    expect(after[0]?.id).toBe(first?.id);
    expect(after[0]?.differences.find(({ field }) => field === "sha256")?.observed).toBe(hash("sha256", "x", "hex"));
  });

  test("an acknowledgement holds for what was seen: other content opens the drift again, and says who had acknowledged what was there before", async () => {
    const attester = await attesting();
    const told = async (content: string, mode?: number) => {
      const etc = new Map([
        ["etc", directory],
        ["etc/x", file(content, mode)],
      ]);
      attester.set(container("web", { upper: etc }));
      await attester.report([container("web").id]);
      return (await verifier.query.listDrift({})).drifts[0];
    };
    await reaches("web", { content: Verdict.AFFIRMING });
    const seen = await told("a");
    await verifier.adminClient.acknowledgeDrift({ id: seen?.id ?? "", reason: "known", seen: seen?.seen ?? "" });
    expect(await told("a")).toMatchObject({ state: DriftState.ACKNOWLEDGED, acknowledgedBy: "admin", acknowledgedReason: "known" });
    const changed = await told("b");
    expect(changed).toMatchObject({ id: seen?.id, state: DriftState.OPEN, acknowledgedBy: "admin", acknowledgedReason: "known" });
    expect(changed?.acknowledgedAt).toBeDefined();
    expect(changed?.logIndex).toBeGreaterThan(seen?.logIndex ?? 0n);
    // What was looked at before it changed is not what is acknowledged.
    const stale = verifier.adminClient.acknowledgeDrift({ id: seen?.id ?? "", reason: "known too", seen: seen?.seen ?? "" });
    await expect(stale).rejects.toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "CHANGED" } });
    await verifier.adminClient.acknowledgeDrift({ id: seen?.id ?? "", reason: "known too", seen: changed?.seen ?? "" });
    expect(await told("b")).toMatchObject({ state: DriftState.ACKNOWLEDGED, acknowledgedReason: "known too" });
    expect(await told("b", 0o755)).toMatchObject({ state: DriftState.OPEN });
  });

  test("Evidence sent twice is acknowledged and counted once", async () => {
    const attester = await attesting();
    const body = attester.evidence([]);
    attester.send({ case: "evidence", value: { body } });
    await attester.next("acknowledgement", ({ seq }) => seq === 2n);
    attester.send({ case: "evidence", value: { body } });
    expect((await attester.next("acknowledgement")).seq).toBe(2n);
  });

  test("a state root that is not that of the state asks for a full report, until then nothing is green", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    attester.send({ case: "evidence", value: { body: attester.evidence([], [], (body) => Object.assign(body, { stateRoot: Buffer.alloc(32, 1) })) } });
    expect((await attester.next("resync")).reason).toContain("state root");
    await reaches("web", { verdict: Verdict.UNKNOWN });
    await attester.report();
    await reaches("web", { content: Verdict.AFFIRMING });
  });

  test("Evidence that cannot be taken is never green, however often the node comes back with it; a full report that can be heals it", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    const good = { seq: attester.seq, digest: attester.digest };
    const poison = attester.evidence([container("web").id], [], ({ containers }) => {
      if (containers?.[0]) containers[0].code = Buffer.alloc(3 * 1024 * 1024);
    });
    const poisoned = { seq: attester.seq, digest: attester.digest };
    // As an agent does: what is not acknowledged is sent again on the next stream, and so is a sign of life.
    for (let i = 0; i < 4; i++) {
      await attester.close();
      verifier.clock.shiftMs += 6_000;
      Object.assign(attester, poisoned);
      const welcome = await attester.connect();
      expect(welcome?.durableSeq).toBe(good.seq);
      attester.send({ case: "evidence", value: { body: poison } });
      attester.send({ case: "heartbeat", value: { seq: attester.seq } });
      await reaches("web", { verdict: Verdict.UNKNOWN });
    }
    // The stream goes on: the whole state is asked for, and taken as soon as it can be.
    await attester.next("resync");
    await attester.report();
    await reaches("web", { content: Verdict.AFFIRMING });
  });

  test("a gap ends the session; the durable number tells where to go on", async () => {
    const attester = await attesting();
    attester.evidence([]);
    attester.send({ case: "evidence", value: { body: attester.evidence([]) } });
    expect(await attester.ended()).toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "EVIDENCE_GAP" } });
  });

  test("another Evidence of the same number is a fork: refused, recorded, and the node not believed", async () => {
    const attester = await attesting();
    const fork = attester.evidence([], [], (body) => Object.assign(body, { seq: 1n, previousDigest: Buffer.alloc(32) }));
    attester.send({ case: "evidence", value: { body: fork } });
    expect(await attester.ended()).toMatchObject({ code: "FAILED_PRECONDITION", detail: { reason: "CHAIN_FORK" } });
    await expect.poll(async () => (await verifier.query.listDrift({})).drifts).toMatchObject([{ kind: "chain-broken", containerId: "" }]);
    expect((await workload("web"))?.verdict).toBe(Verdict.UNKNOWN);
  });
});

describe("quotes", () => {
  const refusals = async (): Promise<string[]> =>
    (await verifier.query.getNode({ id: "w-1" })).node?.reasons.map(({ code, detail }) => `${code}: ${detail}`) ?? [];

  test("without a quote a node with a TPM is not believed; with one it is", async () => {
    const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
    attester.answering = false;
    await attester.connect();
    attester.set(container("web"));
    await attester.report();
    await reaches("web", { verdict: Verdict.UNKNOWN, reasons: expect.arrayContaining([expect.objectContaining({ code: "no-quote" })]) });
    const challenge = await attester.next("challenge");
    attester.send({ case: "quote", value: await attester.quote(challenge) });
    await reaches("web", { content: Verdict.AFFIRMING });
  });

  test.each([
    ["another node's TPM", async (attester: Attester, nonce: Uint8Array) => attester.quote({ nonce } as never, new FakeQuoter()), /wrong-signer/],
    [
      "a quote for another node",
      async (attester: Attester, nonce: Uint8Array) => attester.quote({ nonce } as never, undefined, "0123456789abcdef"),
      /wrong-binding/,
    ],
    [
      "another event log than the quote bound",
      async (attester: Attester, nonce: Uint8Array) => ({ ...(await attester.quote({ nonce } as never)), eventLogSha256: Buffer.alloc(32, 1) }),
      /wrong-binding/,
    ],
    ["a nonce that was not asked", async (attester: Attester) => attester.quote({ nonce: Buffer.alloc(32, 3) } as never), /nonce/],
    [
      "another state",
      async (attester: Attester, nonce: Uint8Array) => ({ ...(await attester.quote({ nonce } as never)), stateRoot: Buffer.alloc(32) }),
      /state-root/,
    ],
    [
      "another Evidence",
      async (attester: Attester, nonce: Uint8Array) => ({ ...(await attester.quote({ nonce } as never)), evidenceDigest: Buffer.alloc(32) }),
      /evidence-digest/,
    ],
  ])("%s is refused by name, and the node contraindicated until a good one", async (_name, forge, reason) => {
    const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
    attester.answering = false;
    await attester.connect();
    attester.set(container("web"));
    await attester.report();
    const challenge = await attester.next("challenge");
    attester.send({ case: "quote", value: await forge(attester, challenge.nonce) });
    await expect.poll(refusals).toContainEqual(expect.stringMatching(reason));
    expect((await verifier.query.getNode({ id: "w-1" })).node?.verdict).toBe(Verdict.CONTRAINDICATED);
    await expect.poll(async () => (await verifier.query.listDrift({})).drifts).toMatchObject([{ kind: "quote-refused" }]);
    await verifier.adminClient.requestQuote({ nodeId: "w-1" });
    attester.send({ case: "quote", value: await attester.quote(await attester.next("challenge")) });
    await expect.poll(async () => (await verifier.query.listDrift({})).drifts).toEqual([]);
  });

  test("answers to more challenges than are kept open are late, not lies: a busy node is not accused", async () => {
    const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
    attester.answering = false;
    await attester.connect();
    await attester.report();
    const challenges = [await attester.next("challenge")];
    for (let i = 0; i < 6; i++) {
      await verifier.adminClient.requestQuote({ nodeId: "w-1" });
      challenges.push(await attester.next("challenge"));
    }
    for (const challenge of challenges) attester.send({ case: "quote", value: await attester.quote(challenge) });
    await expect.poll(async () => (await verifier.query.getNode({ id: "w-1" })).node?.lastQuote).toBeDefined();
    // In order: the last of the answers has been judged when Evidence sent after it is durable.
    await attester.report([]);
    expect(await refusals()).not.toContainEqual(expect.stringMatching(/quote-refused/));
    expect((await verifier.query.listDrift({ states: [DriftState.OPEN, DriftState.RESOLVED] })).drifts).toEqual([]);
  });

  test("drift is quoted at once by a real TPM, whose interval is far, and a flood of it by no more quotes than seconds pass", async () => {
    const tpm = await Swtpm.start({ withoutEkCertificate: true });
    const proxy = await TpmProxy.start(tpm);
    const stateDir = mkdtempSync(join(verifier.directory, "tpm-"));
    const quoter = new Tpm2Quoter({ tcti: proxy.tcti, stateDir });
    const quotes = (): number => proxy.asked.get(TPM_CC.quote) ?? 0;
    const lastQuoteMs = async (): Promise<number> => {
      const { seconds = 0n, nanos = 0 } = (await verifier.query.getNode({ id: "w-1" })).node?.lastQuote ?? {};
      return Number(seconds) * 1000 + nanos / 1e6;
    };
    try {
      verifier.policy("apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: p }\nspec: { intervals: { heartbeat: 5m, quote: 1h } }\n");
      await verifier.stop();
      await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policyPath}`);
      const attester = verifier.attester({ name: "w-1", quoter });
      await attester.connect();
      attester.set(container("web"));
      await attester.report();
      await reaches("web", { content: Verdict.AFFIRMING });
      await expect.poll(lastQuoteMs, { timeout: 60_000 }).toBeGreaterThan(0);
      const upper = new Map([["etc", directory]]);
      const drift = async (name: string): Promise<void> => {
        attester.set(container("web", { upper: new Map(upper.set(`etc/${name}`, file(name))) }));
        await attester.report([container("web").id]);
      };
      const [startedMs, before] = [performance.now(), quotes()];
      for (let i = 0; i < 40; i++) await drift(`flood-${i}`);
      // Asked for at once, and again when a second has passed and something was found meanwhile.
      verifier.clock.shiftMs += 2000;
      const mark = verifier.clock.nowMs();
      await drift("last");
      await expect.poll(lastQuoteMs, { timeout: 60_000 }).toBeGreaterThanOrEqual(mark);
      expect((await verifier.query.listDrift({})).drifts).toHaveLength(41);
      expect(quotes() - before).toBeGreaterThan(0);
      // By the verifier's clock, which was pushed forward by two.
      expect(quotes() - before).toBeLessThanOrEqual(Math.ceil((performance.now() - startedMs) / 1000) + 3);
    } finally {
      await quoter.close();
      await proxy.stop();
      await tpm.stop();
    }
  }, 180_000);

  test("drift within a second of a question is quoted when the second has passed, and so is what a failing TPM could not say", async () => {
    const node = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
    node.answering = false;
    await node.connect();
    node.set(container("web"));
    await node.report();
    const asked = (): Promise<Challenge> => node.next("challenge");
    node.send({ case: "quote", value: await node.quote(await asked()) });
    await reaches("web", { reasons: expect.arrayContaining([expect.objectContaining({ code: "provenance-unsigned" })]) });
    // The pacer's next question is a minute away.
    const told = verifier.adminClient.requestQuote({ nodeId: "w-1" });
    node.send({ case: "quote", value: await node.quote(await asked()) });
    await told;
    node.set(
      container("web", {
        upper: new Map([
          ["etc", directory],
          ["etc/x", file("x")],
        ]),
      }),
    );
    await node.report([container("web").id]);
    const { nonce } = await asked();
    node.send({ case: "quote", value: { nonce, failure: { code: "quote-failed", detail: "busy" } } });
    expect((await asked()).nonce).not.toEqual(nonce);
  });

  test("drift upon drift asks for no second quote while the first is awaited, and for one when it has come", async () => {
    const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
    attester.answering = false;
    await attester.connect();
    const first = await attester.next("challenge");
    attester.set(container("web"));
    await attester.report();
    await reaches("web", { reasons: expect.arrayContaining([expect.objectContaining({ code: "provenance-unsigned" })]) });
    verifier.clock.shiftMs += 2_000;
    for (const name of ["one", "two", "three"]) {
      const known = attester.containers.get(container("web").id)?.upper ?? new Map();
      attester.set(container("web", { upper: new Map([...known, ["etc", directory], [`etc/${name}`, file(name)]]) }));
      await attester.report([container("web").id]);
      verifier.clock.shiftMs += 2_000;
    }
    expect((await verifier.query.listDrift({})).drifts).toHaveLength(3);
    expect(attester.received.filter(({ message }) => message.case === "challenge")).toEqual([]);
    attester.send({ case: "quote", value: await attester.quote(first) });
    await attester.next("challenge");
    expect((await verifier.query.getNode({ id: "w-1" })).node?.lastQuote).toBeDefined();
  });

  test("a quote is good once", async () => {
    const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
    attester.answering = false;
    await attester.connect();
    await attester.report();
    const value = await attester.quote(await attester.next("challenge"));
    attester.send({ case: "quote", value });
    await expect.poll(async () => (await verifier.query.getNode({ id: "w-1" })).node?.lastQuote).toBeDefined();
    attester.send({ case: "quote", value });
    await expect.poll(refusals).toContainEqual(expect.stringMatching(/nonce/));
  });

  test("a node that is refused without end does not fill the log, which only grows", async () => {
    const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
    attester.answering = false;
    await attester.connect();
    await attester.report();
    const value = await attester.quote(await attester.next("challenge"));
    for (let i = 0; i < 150; i++) attester.send({ case: "quote", value });
    for (let i = 0; i < 150; i++) attester.send({ case: "bootLog", value: { log: Buffer.from([i]) } });
    // Messages are taken in order: what is reported now comes after all of them.
    attester.set(container("web"));
    await attester.report();
    await expect.poll(refusals).toContainEqual(expect.stringMatching(/nonce/));
    await verifier.stop();
    const database = new Database(join(verifier.directory, "state", "verifier.db"), { readonly: true });
    const entries = database.prepare<[], { entry: Buffer }>("SELECT entry FROM log_entries").all();
    database.close();
    expect(entries.filter(({ entry }) => /"action":"(quote|boot-log)-refused"/.test(entry.toString()))).toHaveLength(30);
  });

  test("a quote that arrives before the Evidence it vouches for waits for it", async () => {
    const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
    attester.answering = false;
    await attester.connect();
    attester.set(container("web"));
    const challenge = await attester.next("challenge");
    const body = attester.evidence();
    attester.send({ case: "quote", value: await attester.quote(challenge) });
    attester.send({ case: "evidence", value: { body } });
    await reaches("web", { content: Verdict.AFFIRMING });
  });
});

describe("time", () => {
  test("a node that falls silent is unknown after two heartbeat intervals, and so are its containers", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    await attester.close();
    verifier.clock.shiftMs += 21_000;
    await reaches("web", {
      verdict: Verdict.UNKNOWN,
      content: Verdict.UNKNOWN,
      reasons: expect.arrayContaining([expect.objectContaining({ code: "unreachable" })]),
    });
    const { nodesUnattested, containersUnknown, unknownReasons } = await verifier.query.getStatus({});
    expect(nodesUnattested.map(({ name }) => name)).toEqual(["w-1"]);
    expect(containersUnknown).toBe(1);
    expect(unknownReasons).toEqual({ unreachable: 1 });
  });

  test("what an hour without the verifier proves is said exactly: not before the last quote, and in what time nothing is proven", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    const node = async () => (await verifier.query.getNode({ id: "w-1" })).node;
    expect((await node())?.gapFrom).toBeUndefined();
    await attester.close();
    // A quote that came last may not be on record yet, and is not when the stream ends before it is.
    await expect.poll(async () => (await node())?.connected, { timeout: 10_000 }).toBe(false);
    const lastQuote = (await node())?.lastQuote;
    expect(lastQuote).toBeDefined();
    const etc = (name: string) => ({
      upper: new Map([
        ["etc", directory],
        [`etc/${name}`, file(name)],
      ]),
    });
    // Measured and spooled in that hour, which the certificate just outlives: TLS goes by the real time, and would refuse one of later.
    attester.set(container("web", etc("x")));
    const spooled = attester.evidence([container("web").id]);
    const back = verifier.attester({ ...attester.options, bootId: attester.bootId });
    Object.assign(back, { chainId: attester.chainId, seq: attester.seq, digest: attester.digest, stateRoot: attester.stateRoot });
    back.credential = attester.credential;
    for (const each of attester.containers.values()) back.set(each);
    verifier.clock.shiftMs += 3_500_000;
    await back.connect();
    back.send({ case: "evidence", value: { body: spooled } });
    await back.next("acknowledgement", ({ seq }) => seq === back.seq);
    const [drift] = (await verifier.query.listDrift({})).drifts;
    expect(drift?.notBefore).toEqual(lastQuote);
    await expect.poll(async () => (await node())?.gapTo, { timeout: 10_000 }).toBeDefined();
    const after = await node();
    expect(after?.gapFrom).toEqual(lastQuote);
    expect(after?.gapTo).toEqual(after?.lastQuote);
    expect(Number(after?.gapTo?.seconds) - Number(after?.gapFrom?.seconds)).toBeGreaterThanOrEqual(3_499);
    // What a person reads of it.
    const hullmark = await hullmarkOf(verifier);
    const iso = (at: typeof lastQuote): string => new Date(Number(at?.seconds) * 1000 + (at?.nanos ?? 0) / 1e6).toISOString();
    expect((await hullmark("drift", "show", drift?.id ?? "")).out).toContain(`not before ${iso(lastQuote)}: a quote vouched for the state without it`);
    const page = (await hullmark("node", "show", "w-1")).out;
    expect(page).toContain(`${iso(after?.gapFrom)} to ${iso(after?.gapTo)}: no quotes; what it told of that time was proven not before the end of it`);
    // A container that is told of with its drift was never vouched for without it.
    back.set(container("new", etc("y")));
    await back.report([container("new").id]);
    await expect.poll(async () => (await verifier.query.listDrift({})).drifts.length, { timeout: 10_000 }).toBe(2);
    const drifts = (await verifier.query.listDrift({})).drifts;
    expect(drifts.find(({ containerName }) => containerName === "new")?.notBefore).toBeUndefined();
  });

  test("a node that sends Evidence and no quotes is unknown after two quote intervals", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    attester.answering = false;
    verifier.clock.shiftMs += 121_000;
    attester.send({ case: "heartbeat", value: { seq: attester.seq } });
    await reaches("web", { verdict: Verdict.UNKNOWN, reasons: expect.arrayContaining([expect.objectContaining({ code: "quote-stale" })]) });
  });

  test("drift that was found stays red when its node falls silent", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    attester.set(
      container("web", {
        upper: new Map([
          ["etc", directory],
          ["etc/x", file("x")],
        ]),
      }),
    );
    await attester.report([container("web").id]);
    await attester.close();
    verifier.clock.shiftMs += 21_000;
    await expect.poll(async () => (await verifier.query.getNode({ id: "w-1" })).node?.verdict, { timeout: 10_000 }).toBe(Verdict.UNKNOWN);
    expect((await workload("web"))?.verdict).toBe(Verdict.CONTRAINDICATED);
  });
});

describe("sessions", () => {
  test("a second session of the same boot takes over, and the first is told", async () => {
    const first = await attesting();
    const second = verifier.attester({ name: "w-1", quoter: first.options.quoter as FakeQuoter, bootId: first.bootId });
    second.credential = first.credential;
    await second.connect();
    expect(await first.ended()).toMatchObject({ code: "ABORTED", detail: { reason: "SUPERSEDED" } });
  });

  test("another boot that speaks as the node while the first is alive is refused; when the first speaks on, that is an alarm for an hour", async () => {
    // Two heartbeats are ten minutes, and half of one is two and a half: what this takes by itself is no part of it.
    const patient = "apiVersion: hullmark.dev/v1\nkind: Policy\nmetadata: { name: patient }\nspec: { intervals: { heartbeat: 5m, quote: 1h } }\n";
    await verifier.stop();
    await verifier.start(`enrolment: { mode: tofu, acceptWithoutCertificate: true }\npolicyFile: ${verifier.policy(patient)}`);
    const first = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    const second = verifier.attester({ name: "w-1", quoter: first.options.quoter as FakeQuoter });
    second.credential = first.credential;
    const drifts = async () => (await verifier.query.listDrift({})).drifts.map(({ kind, summary }) => `${kind}: ${summary}`);
    const node = async () => (await verifier.query.getNode({ id: "w-1" })).node;
    await expect(second.connect()).rejects.toMatchObject({ code: "ABORTED", detail: { reason: "NODE_IN_USE" } });
    // It might be the node itself that has started anew: until the other one speaks on.
    await first.report([]);
    expect(await drifts()).toEqual([]);
    verifier.clock.shiftMs += 150_000;
    first.send({ case: "heartbeat", value: { seq: first.seq } });
    await expect.poll(drifts, { timeout: 30_000 }).toEqual([`cloned: boot ${second.bootId} speaks as this node too`]);
    expect(await node()).toMatchObject({ verdict: Verdict.CONTRAINDICATED, reasons: expect.arrayContaining([expect.objectContaining({ code: "cloned" })]) });
    // Not clean, whatever it holds; and no quote takes it back.
    await reaches("web", { verdict: Verdict.UNKNOWN, reasons: expect.arrayContaining([expect.objectContaining({ code: "cloned" })]) });
    const quoted = (await node())?.lastQuote;
    await verifier.adminClient.requestQuote({ nodeId: "w-1" });
    await expect.poll(async () => (await node())?.lastQuote, { timeout: 30_000 }).not.toEqual(quoted);
    expect(await drifts()).toHaveLength(1);
    verifier.clock.shiftMs += 3_000_000;
    first.send({ case: "heartbeat", value: { seq: first.seq } });
    expect(await drifts()).toHaveLength(1);
    verifier.clock.shiftMs += 700_000;
    await expect.poll(drifts, { timeout: 30_000 }).toEqual([]);
  });

  test("a node whose clock is wrong is told, and believed", async () => {
    const attester = await attesting();
    await reaches("web", { content: Verdict.AFFIRMING });
    const skew = async () =>
      (await verifier.query.getNode({ id: "w-1" })).node?.reasons.filter(({ code }) => code === "clock-skew").map(({ detail }) => detail);
    const beat = (offsetMs: number): void => attester.send({ case: "heartbeat", value: { seq: attester.seq, sentAt: timestampFromMs(Date.now() + offsetMs) } });
    for (const [offsetMs, said] of [
      [7_200_000, /^its clock is 7[12]\d\d s ahead of the verifier's/],
      [-7_200_000, /^its clock is 7[2-9]\d\d s behind the verifier's/],
    ] as const) {
      beat(offsetMs);
      await expect.poll(skew, { timeout: 30_000 }).toEqual([expect.stringMatching(said)]);
      expect((await verifier.query.getNode({ id: "w-1" })).node?.verdict).toBe(Verdict.WARNING);
      await reaches("web", { content: Verdict.AFFIRMING });
      beat(0);
      await expect.poll(skew, { timeout: 30_000 }).toEqual([]);
    }
  });

  test("a revoked node's session ends at once, and it may not come back until it is allowed again", async () => {
    const attester = await attesting();
    await verifier.adminClient.revokeNode({ nodeId: "w-1", reason: "stolen" });
    expect(await attester.ended()).toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "REVOKED" } });
    await expect(attester.connect()).rejects.toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "REVOKED" } });
    await expect(attester.enrol()).rejects.toMatchObject({ code: "PERMISSION_DENIED", detail: { reason: "REVOKED" } });
    expect((await verifier.query.getNode({ id: "w-1" })).node).toMatchObject({ revoked: true, verdict: Verdict.CONTRAINDICATED });
  });

  test("the first message must be Hello, of a version and a chain id that are known", async () => {
    const attester = verifier.attester({ name: "w-1", quoter: new FakeQuoter() });
    await attester.connect(false);
    attester.send({ case: "heartbeat", value: { seq: 0n } });
    expect(await attester.ended()).toMatchObject({ code: "INVALID_ARGUMENT", detail: { reason: "PROTOCOL" } });
    await attester.connect(false);
    attester.send({ case: "hello", value: { protocolVersion: 9, chainId: attester.chainId } });
    expect(await attester.ended()).toMatchObject({ code: "INVALID_ARGUMENT", detail: { reason: "PROTOCOL" } });
  });
});
