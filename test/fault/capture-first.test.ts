/**
 * A pod's node is asked for a capture before the pod goes: whatever the node says or leaves unsaid, and wherever the verifier is killed meanwhile, the pod goes once, not before the capture is told or
 * waited for as long as policy says, and what became of that is on record.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { Admin } from "@hullmark/proto/v1/admin";
import { Attestation } from "@hullmark/proto/v1/attestation";
import { type CaptureRequest, type CaptureTakenSchema, CaptureTeller } from "@hullmark/proto/v1/capture";
import { type Action, ActionKind, ActionState, IntentSchema, Outcome, Response } from "@hullmark/proto/v1/response";
import { MAX_ATTEMPTS } from "@hullmark/verifier/core/response/decide";
import { CAPTURING_FAILPOINTS } from "@hullmark/verifier/core/response/index";
import { afterEach, beforeEach, expect, test } from "vitest";
import { admitActuator } from "../fakes/admit-actuator.ts";
import { Attester } from "../fakes/attester.ts";
import { type PushedImage, pushImage } from "../fakes/images.ts";
import { FakeQuoter } from "../fakes/quoter.ts";
import { type FakeRegistry, startFakeRegistry } from "../fakes/registry.ts";
import { scriptedWeb } from "../fakes/scripted-web.ts";
import { VerifierProcess } from "../fakes/verifier-process.ts";

const POLL = { timeout: 80_000, interval: 50 };
const LONG = 240_000;
const SEALED = randomBytes(1000);
const DIGEST = `sha256:${"a".repeat(64)}`;

/** @param capture of the rule @param heartbeat two of them without a word, and a node is not judged any more */
const policy = (capture: string, heartbeat = "5m"): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: p }
spec:
  mode: enforce
  intervals: { heartbeat: ${heartbeat}, quote: 1h }
  response:
    rules: [{ name: all, capture: ${capture}, ladder: { low: [evict], medium: [evict], high: [evict], critical: [evict] } }]
`;

let registry: FakeRegistry;
let image: PushedImage;
let verifier: VerifierProcess;
let node: Attester;
/** Intents that the cluster's actuator was handed, by hexadecimal id. */
let handed: string[];

beforeEach(async () => {
  registry = await startFakeRegistry();
  image = await pushImage(`${registry.host}/acme/web`);
  handed = [];
});
afterEach(async () => {
  await node?.close();
  await verifier.dispose();
  await registry.close();
});

async function start(capture: string, failpoint?: string, heartbeat?: string): Promise<void> {
  verifier = new VerifierProcess(policy(capture, heartbeat), "kubernetes: { apiServer: 'https://localhost:1', cluster: prod }\n");
  await verifier.start(failpoint);
  node = new Attester({ ...verifier.addresses, ca: verifier.ca, name: "w-1", quoter: new FakeQuoter(), captures: true });
  await node.enrol();
}

/** Plays the cluster's actuator: does what it is handed at once, and tells of a capture that it cannot have taken. */
async function actuator(): Promise<void> {
  const { client } = await admitActuator(verifier, { cluster: true });
  void (async () => {
    for await (const { intent } of client.pullIntents({})) {
      const { id, kind } = fromBinary(IntentSchema, intent?.body ?? new Uint8Array());
      expect(kind).toBe(ActionKind.EVICT);
      handed.push(Buffer.from(id).toString("hex"));
      await client.reportOutcome({ intentId: id, outcome: Outcome.DONE, capture: { digest: `sha256:${"f".repeat(64)}`, bytes: 1n, complete: true } });
    }
  })().catch(() => undefined); // the verifier dies
}

/** Of one pod of each service. */
async function drift(...services: readonly string[]): Promise<void> {
  await node.connect();
  for (const [i, service] of (services.length > 0 ? services : ["web"]).entries()) {
    const owner = { container: "web", ownerKind: "ReplicaSet", ownerName: service };
    const pod = { namespace: "shop", name: `${service}-1`, uid: `0b0f5a9e-0000-4000-8000-00000000000${i + 1}`, ...owner };
    node.set({ ...scriptedWeb(image, i + 1, ["etc/added"]), name: `shop/${service}-1/web`, workload: `shop/${service}`, pod });
  }
  await node.report();
  await verifier
    .admin()
    .client(Admin)
    .requestQuote({ nodeId: node.credential?.nodeId ?? "" });
}

type Taken = MessageInitShape<typeof CaptureTakenSchema>;
const taken = ({ id }: Pick<CaptureRequest, "id">): Taken => ({
  id,
  capture: { digest: DIGEST, bytes: BigInt(SEALED.length), complete: true, files: 3, processes: 2, teller: CaptureTeller.ACTUATOR },
});

async function actions(): Promise<Action[]> {
  return (await verifier.admin().client(Response).listActions({})).actions;
}

const only = async (): Promise<Action | undefined> => {
  const [action, ...others] = await actions();
  expect(others).toEqual([]);
  return action;
};

test("the capture is told of before anything is issued, as the node's word; what an actuator of the cluster says of one is not", {
  timeout: LONG,
}, async () => {
  await start("{ patience: 5m }");
  await actuator();
  await drift();
  const asked = await node.next("capture");
  expect(asked).toMatchObject({ actionId: (await only())?.id, containerId: scriptedWeb(image, 1, []).id });
  expect(await only()).toMatchObject({ state: ActionState.CAPTURING, captureMissed: "" });
  await delay(1500);
  expect(handed).toEqual([]);
  // Of another question nothing is taken.
  node.send({ case: "captured", value: taken({ id: randomBytes(16) }) });
  node.send({ case: "captured", value: taken(asked) });
  await expect.poll(only, POLL).toMatchObject({
    state: ActionState.DONE,
    capture: { digest: DIGEST, files: 3, processes: 2, complete: true, teller: CaptureTeller.AGENT, bytes: BigInt(SEALED.length) },
  });
  expect(handed).toHaveLength(1);
  // What is told once stays.
  node.send({ case: "captured", value: { id: asked.id, capture: { digest: `sha256:${"b".repeat(64)}`, bytes: 1n } } });
  await node.report([]);
  expect((await only())?.capture?.digest).toBe(DIGEST);
});

test("a node that says nothing is waited for no longer than policy says; what it tells later counts still", { timeout: LONG }, async () => {
  await start("{ patience: 2s }");
  await actuator();
  await drift();
  const asked = await node.next("capture");
  await expect.poll(only, POLL).toMatchObject({ state: ActionState.DONE, captureMissed: "not-answered", detail: "" });
  expect((await only())?.capture).toBeUndefined();
  node.send({ case: "captured", value: taken(asked) });
  await expect.poll(only, POLL).toMatchObject({ state: ActionState.DONE, captureMissed: "", capture: { digest: DIGEST } });
  expect(handed).toHaveLength(1);
});

test("a node that is not heard any more has nothing done to it, and it is on record that nothing was captured; when it is back it is asked again, and the pod goes", {
  timeout: LONG,
}, async () => {
  await start("{ patience: 15s }", undefined, "5s");
  await actuator();
  await drift();
  const { id } = await node.next("capture");
  await node.close();
  await expect.poll(only, POLL).toMatchObject({ state: ActionState.CAPTURING, captureMissed: "not-answered", captureMissedAt: { nanos: expect.any(Number) } });
  const { held } = await verifier.admin().client(Response).listActions({});
  expect(held).toEqual({ "node-not-attested": 1 });
  expect(handed).toEqual([]);
  await drift();
  expect(await node.next("capture")).toMatchObject({ id });
  await expect.poll(only, POLL).toMatchObject({ state: ActionState.DONE, captureMissed: "not-answered" });
  node.send({ case: "captured", value: taken({ id }) });
  await expect.poll(only, POLL).toMatchObject({ state: ActionState.DONE, captureMissed: "", capture: { digest: DIGEST } });
  expect((await verifier.admin().client(Response).listActions({})).held).toEqual({});
  expect(handed).toHaveLength(1);
});

test.each<[string, (asked: CaptureRequest) => Taken, RegExp]>([
  ["that it took none", ({ id }) => ({ id, problem: "there is no room\x1b[2J" }), /^there is no room/],
  ["what is none", ({ id }) => ({ id, capture: { digest: "sha256:zz", bytes: 1n } }), /^$/],
  ["a size beyond all", ({ id }) => ({ id, capture: { digest: DIGEST, bytes: 2n ** 63n } }), /^$/],
])("a node that says %s: the pod goes all the same, and it is on record", { timeout: LONG }, async (_name, answer, problem) => {
  await start("{ patience: 5m }");
  await actuator();
  await drift();
  node.send({ case: "captured", value: answer(await node.next("capture")) });
  await expect.poll(only, POLL).toMatchObject({ state: ActionState.DONE, captureMissed: "not-taken", captureProblem: expect.stringMatching(problem) });
  expect((await only())?.captureProblem).not.toContain("\x1b");
});

test("where policy leaves what cannot be captured, nothing is done, it is tried three times though nothing is heard of the pod meanwhile, and people are told", {
  timeout: LONG,
}, async () => {
  await start("{ patience: 10s, missed: leave }");
  await actuator();
  await drift();
  for (let i = 0; i < MAX_ATTEMPTS; i++) node.send({ case: "captured", value: { id: (await node.next("capture")).id, problem: "no" } });
  const left = { state: ActionState.FAILED, reason: "capture", captureMissed: "not-taken" };
  await expect.poll(actions, POLL).toMatchObject(Array.from({ length: MAX_ATTEMPTS }, () => left));
  expect(handed).toEqual([]);
});

test("of services that drift at once no more are captured than the limits let go", { timeout: LONG }, async () => {
  await start("{ patience: 5m }");
  await actuator();
  await drift("web", "cart", "blog");
  const asked = await node.next("capture");
  const held = async () => (await verifier.admin().client(Response).listActions({})).held;
  await expect.poll(held, POLL).toEqual({ breaker: 2 });
  expect(await only()).toMatchObject({ state: ActionState.CAPTURING });
  node.send({ case: "captured", value: taken(asked) });
  await expect.poll(only, POLL).toMatchObject({ state: ActionState.DONE });
  expect(handed).toHaveLength(1);
});

test("what is over before the node answers is withdrawn", { timeout: LONG }, async () => {
  await start("{ patience: 5m }");
  await actuator();
  await drift();
  const asked = await node.next("capture");
  node.set({ ...scriptedWeb(image, 1, []), name: "shop/web-1/web", workload: "shop/web" });
  await node.report();
  await expect.poll(only, POLL).toMatchObject({ state: ActionState.WITHDRAWN });
  node.send({ case: "captured", value: taken(asked) });
  await expect.poll(only, POLL).toMatchObject({ state: ActionState.WITHDRAWN, capture: { digest: DIGEST } });
  expect(handed).toEqual([]);
});

test("it is fetched of the node that told of it, and of no other", { timeout: LONG }, async () => {
  await start("{ patience: 5m }");
  await actuator();
  await drift();
  node.send({ case: "captured", value: taken(await node.next("capture")) });
  await expect.poll(only, POLL).toMatchObject({ state: ActionState.DONE });
  const fetched = (async () => {
    for await (const _part of verifier
      .admin()
      .client(Response)
      .fetchCapture({ actionId: (await only())?.id ?? "", reason: "INC-1" }));
  })();
  fetched.catch(() => undefined);
  const { requestId, digest } = await node.next("captureWanted");
  expect(digest).toBe(DIGEST);
  const upload = async (attester: Attester): Promise<unknown> => {
    const { privateKey = "", certificateChain = "" } = attester.credential ?? {};
    const client = verifier.channel(Buffer.from(privateKey), Buffer.from(certificateChain)).client(Attestation);
    return await client.uploadPodCapture({ requestId, offset: 0n, part: SEALED, last: true });
  };
  const other = new Attester({ ...verifier.addresses, ca: verifier.ca, name: "w-2", quoter: new FakeQuoter() });
  await other.enrol();
  await expect(upload(other)).rejects.toMatchObject({ code: "NOT_FOUND" });
  await upload(node);
  // It is not what it told of.
  await expect(fetched).rejects.toMatchObject({ detail: { reason: "CHANGED" } });
});

test.each(CAPTURING_FAILPOINTS)(
  "the verifier is killed at %s: after a restart there is one action, with its capture, and it is done once",
  { timeout: LONG },
  async (failpoint) => {
    await start("{ patience: 5m }", failpoint);
    const answering = async (): Promise<void> => {
      for (;;) node.send({ case: "captured", value: taken(await node.next("capture")) });
    };
    await actuator();
    // It may die before the last answer has arrived.
    await drift().catch(() => undefined);
    void answering().catch(() => undefined);
    // A place that is not passed would leave it running.
    expect(await verifier.died).toBe("SIGKILL");
    await node.close();
    await verifier.start();
    node.options = { ...node.options, ...verifier.addresses };
    await actuator();
    await drift();
    void answering().catch(() => undefined);
    await expect.poll(only, POLL).toMatchObject({ state: ActionState.DONE, captureMissed: "", capture: { digest: DIGEST, teller: CaptureTeller.AGENT } });
    expect(new Set(handed).size).toBe(1);
  },
);
