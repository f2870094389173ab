/** Marks by a cluster's API server: what Hullmark put on is told from what others did, and a malicious verifier marks no more than the actuator's own limits allow. */
import { generateKeyPairSync, randomBytes, sign, verify } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { FileLedger } from "@hullmark/actuator/adapters/file-ledger/file-ledger";
import { CORDONED, KubernetesNodes, UNTRUSTED } from "@hullmark/actuator/adapters/kubernetes/kubernetes-nodes";
import { parseConfig } from "@hullmark/actuator/config";
import { Actuator } from "@hullmark/actuator/core/actuator";
import { ClusterHands } from "@hullmark/actuator/core/cluster-hands";
import { NodeHands } from "@hullmark/actuator/core/node-hands";
import type { Settled } from "@hullmark/actuator/ports/ledger";
import type { ApiAnswer } from "@hullmark/daemon/api-server";
import { intentMessage } from "@hullmark/proto/codec";
import { ActionKind, IntentSchema, NodeMark, Outcome } from "@hullmark/proto/v1/response";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeCluster, FakeFence, FakeRollouts } from "../fakes/cluster.ts";
import { IDENTITY, podIntent } from "../fakes/pod-intent.ts";

const { LABEL, TAINT, CORDON } = NodeMark;
const ALL = [LABEL, TAINT, CORDON];
const T0 = 1_700_000_000_000;
const keys = generateKeyPairSync("ed25519");
const OTHERS = { key: "node.kubernetes.io/disk-pressure", effect: "NoSchedule", timeAdded: "2026-01-01T00:00:00Z" };

interface Stored {
  metadata: { uid: string; resourceVersion: string; labels: Record<string, string>; annotations: Record<string, string> };
  spec: { unschedulable?: boolean; taints?: object[] };
}

/** Nodes as an API server keeps them, with merge patches (RFC 7386) under uid and resourceVersion. */
class Nodes {
  readonly nodes = new Map<string, Stored>();
  readonly events: { reason: string; note: string; type: string; metadata: { name: string; annotations: object } }[] = [];
  /** What answers the next calls, in place of the API server. `lost`: it is done, and the answer does not arrive. */
  readonly next: ("conflict" | "lost" | "away" | ApiAnswer)[] = [];

  add(name: string, spec: Stored["spec"] = {}): Stored {
    const stored = { metadata: { uid: `u-${name}`, resourceVersion: "1", labels: { zone: "a" }, annotations: {} }, spec };
    this.nodes.set(name, stored);
    return stored;
  }

  async get(path: string): Promise<ApiAnswer> {
    const found = this.nodes.get(path.split("/").at(-1) ?? "");
    return found ? { status: 200, body: structuredClone(found) } : { status: 404, body: {} };
  }

  async patch(path: string, body: unknown, type: string): Promise<ApiAnswer> {
    expect(type).toBe("application/merge-patch+json");
    const answer = this.next.shift();
    if (answer === "away") throw new Error("refused");
    if (answer === "conflict") return { status: 409, body: {} };
    if (typeof answer === "object") return answer;
    const found = this.nodes.get(path.split("/").at(-1) ?? "") as Stored;
    const { uid, resourceVersion } = (body as Stored).metadata;
    if (uid !== found.metadata.uid || resourceVersion !== found.metadata.resourceVersion) return { status: 409, body: {} };
    merge(found as unknown as Record<string, unknown>, body as Record<string, unknown>);
    found.metadata.resourceVersion = String(Number(resourceVersion) + 1);
    if (answer === "lost") throw new Error("reset");
    return { status: 200, body: found };
  }

  async post(_path: string, body: unknown): Promise<ApiAnswer> {
    this.events.push(body as Nodes["events"][number]);
    return { status: 201, body: {} };
  }
}

function merge(into: Record<string, unknown>, patch: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(patch))
    if (value === null) delete into[key];
    else if (typeof value === "object" && !Array.isArray(value)) {
      into[key] ??= {};
      merge(into[key] as Record<string, unknown>, value as Record<string, unknown>);
    } else into[key] = value;
}

let api: Nodes;
let directory: string;
let ledger: FileLedger;
let nowMs: number;
let reports: Settled[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-node-marks-"));
  nowMs = T0;
  ledger = new FileLedger(directory, nowMs);
  api = new Nodes();
  reports = [];
});
afterEach(() => {
  ledger.close();
  rmSync(directory, { recursive: true });
});

function actuator(limits = { allow: ["w-*"], hourly: 9, atOnce: 9, pauseMs: 0 }): Actuator {
  const nodes = new NodeHands(new KubernetesNodes(api, { instance: "a-1", nowMs: () => nowMs, onUntold: () => {} }), limits, ledger);
  const cluster = new FakeCluster();
  const pods = { limits: { pauseMs: 0, hourlyPercent: 100, protect: [] }, ownNamespace: "hullmark", onUntold: () => {} };
  return new Actuator({
    ...{
      identity: IDENTITY,
      ledger,
      nodes,
      hands: new ClusterHands({ cluster, ledger, fence: new FakeFence(cluster), rollouts: new FakeRollouts(), ...pods }),
    },
    verify: (message, signature) => verify(null, message, keys.publicKey, signature),
    report: async (_id, settled) => void reports.push(settled),
    nowMs: () => nowMs,
    passing: () => {},
    told: () => {},
  });
}

function intent(
  kind: ActionKind,
  name: string,
  { actionId = "A-7K2Q", marks = ALL, ...more }: { actionId?: string; marks?: NodeMark[] } & Record<string, unknown> = {},
) {
  const node = { nodeId: Buffer.from(name.padEnd(8, "-")).toString("hex"), name, marks, reason: kind === ActionKind.MARK_NODE ? "layer" : "" };
  const at = { issuedAt: timestampFromMs(nowMs), expiresAt: timestampFromMs(nowMs + 300_000) };
  const body = toBinary(IntentSchema, create(IntentSchema, { id: randomBytes(16), actionId, verifierId: "v1", ...IDENTITY, kind, node, ...at, ...more }));
  return { body, signatures: [sign(null, intentMessage(body), keys.privateKey)] };
}
const mark = (name: string, more: Parameters<typeof intent>[2] = {}) => intent(ActionKind.MARK_NODE, name, more);
const lift = (name: string, more: Parameters<typeof intent>[2] = {}) => intent(ActionKind.LIFT_NODE, name, more);
const told = () => reports.map(({ outcome, reason, marks = [] }) => [Outcome[outcome], reason, ...marks].filter((each) => each !== ""));

test("label, taint and cordon name their action, nothing else is touched, an Event tells, and all of it is taken away again", async () => {
  const node = api.add("w-1", { taints: [OTHERS] });
  const own = actuator();
  const signed = { ...mark("w-1"), logIndex: 41n };
  await own.offer(signed);
  await own.offer(signed);
  expect(node.metadata).toMatchObject({ labels: { zone: "a", [UNTRUSTED]: "A-7K2Q" }, annotations: { [CORDONED]: "A-7K2Q" } });
  expect(node.spec).toEqual({ unschedulable: true, taints: [OTHERS, { key: UNTRUSTED, value: "A-7K2Q", effect: "NoSchedule" }] });
  expect(api.events.map(({ reason, note }) => `${reason}: ${note}`)[1]).toBe("NodeUntrusted: w-1 is not to be trusted (layer): taint put on (A-7K2Q)");
  expect(new Set(api.events.map(({ metadata }) => metadata.name)).size).toBe(3);
  // As its ledger has it, also after a restart; of a verifier that does not say nothing is made up.
  ledger.close();
  ledger = new FileLedger(directory, nowMs);
  expect(ledger.all()[0]?.logIndex).toBe(41);
  await actuator().offer(lift("w-1", { actionId: "A-7K2R" }));
  expect(api.events.map(({ metadata }) => metadata.annotations)).toEqual([
    ...ALL.map(() => ({ "hullmark.dev/action": "A-7K2Q", "hullmark.dev/log-index": "41" })),
    ...ALL.map(() => ({ "hullmark.dev/action": "A-7K2R" })),
  ]);
  expect(node).toMatchObject({ metadata: { labels: { zone: "a" }, annotations: {} }, spec: { taints: [OTHERS] } });
  expect(JSON.stringify(node)).not.toContain("hullmark");
  expect(node.spec.unschedulable).toBeUndefined();
  expect(told()).toEqual([...[1, 2].map(() => ["DONE", ...ALL]), ["DONE", ...ALL]]);
});

test("what somebody else cordoned, tainted or labelled stays his, also where he did after Hullmark", async () => {
  const node = api.add("w-1", { unschedulable: true, taints: [{ key: UNTRUSTED, value: "by-hand", effect: "NoSchedule" }] });
  const own = actuator();
  await own.offer(mark("w-1"));
  expect(told()).toEqual([["DONE", LABEL]]);
  await own.offer(lift("w-1", { actionId: "A-7K2R" }));
  expect(told()[1]).toEqual(["REFUSED", "not-ours"]);
  const untaken = { reason: "LiftFailed", note: "w-1 is trusted again, and its marks were not taken away: not-ours (A-7K2R)" };
  expect(api.events.at(-1)).toMatchObject({ ...untaken, metadata: { annotations: { "hullmark.dev/action": "A-7K2R" } } });
  await own.offer(lift("w-1", { actionId: "A-7K2S", marks: [LABEL] }));
  expect(node.spec).toEqual({ unschedulable: true, taints: [{ key: UNTRUSTED, value: "by-hand", effect: "NoSchedule" }] });
  expect(node.metadata.labels).toEqual({ zone: "a" });
  const second = api.add("w-2");
  await own.offer(mark("w-2", { marks: [CORDON], actionId: "A-7K2T" }));
  // Uncordoned, and cordoned again by somebody.
  second.metadata.annotations = {};
  await own.offer(lift("w-2", { marks: [CORDON], actionId: "A-7K2V" }));
  expect(second.spec.unschedulable).toBe(true);
  expect(told().at(-1)).toEqual(["DONE"]);
});

describe("an API server in trouble", () => {
  test("a node that the kubelet writes meanwhile is looked at again; one that is never left alone is told", async () => {
    const node = api.add("w-1");
    api.next.push("conflict", "conflict");
    await actuator().offer(mark("w-1", { marks: [CORDON] }));
    expect(node.spec.unschedulable).toBe(true);
    api.add("w-2");
    api.next.push(...Array.from({ length: 5 }, () => "conflict" as const));
    await actuator().offer(mark("w-2", { marks: [CORDON], actionId: "A-7K2R" }));
    expect(told()).toEqual([
      ["DONE", CORDON],
      ["FAILED", "hook"],
    ]);
  });

  test("an answer that is lost leaves a mark that counts as Hullmark's own, and is lifted; a right that is missing is named", async () => {
    const node = api.add("w-1");
    api.next.push("lost");
    const own = actuator();
    const asked = mark("w-1", { marks: [TAINT] });
    await expect(own.offer(asked)).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    expect(told()).toEqual([]);
    expect(node.spec.taints).toHaveLength(1);
    // Until the intent ends: then nobody knows.
    api.next.push("away");
    const other = mark("w-1", { marks: [CORDON], actionId: "A-7K2R" });
    await expect(own.offer(other)).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    api.next.push("away");
    nowMs += 300_000;
    await own.resume();
    expect(told()).toEqual([
      ["DONE", TAINT],
      ["FAILED", "hook"],
    ]);
    expect(node.spec.taints).toHaveLength(1);
    await own.offer(lift("w-1", { marks: [TAINT], actionId: "A-7K2S" }));
    expect(node.spec.taints).toEqual([]);
    api.next.push({ status: 403, body: { message: "forbidden" } });
    await own.offer(mark("w-1", { marks: [TAINT], actionId: "A-7K2T" }));
    expect(reports.at(-1)?.detail).toContain("needs the right to patch nodes");
    const noted = { name: "w-1.a-7k2t.mark-failed", annotations: { "hullmark.dev/action": "A-7K2T" } };
    expect(api.events.at(-1)).toMatchObject({ reason: "MarkFailed", type: "Warning", metadata: noted, regarding: { kind: "Node", name: "w-1", uid: "u-w-1" } });
    expect(api.events.at(-1)?.note).toMatch(/^w-1 is not to be trusted \(layer\), and was not marked: taint: .*needs the right to patch nodes/);
    await own.offer(mark("w-9", { actionId: "A-7K2V" }));
    expect(reports.at(-1)).toMatchObject({ outcome: Outcome.FAILED, detail: "the cluster has no node w-9" });
  });
});

test("a mark that was taken away and not answered is one that was taken away, after a restart too, and an Event tells; one that was gone before is not", async () => {
  const node = api.add("w-1");
  await actuator().offer(mark("w-1"));
  // By somebody.
  node.metadata.labels = {};
  api.events.length = 0;
  const asked = lift("w-1", { actionId: "A-7K2R" });
  for (const again of [false, true]) {
    api.next.push("lost");
    const own = actuator();
    await expect(again ? own.resume() : own.offer(asked)).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    ledger.close();
    ledger = new FileLedger(directory, nowMs);
  }
  await actuator().resume();
  expect(told().at(-1)).toEqual(["DONE", TAINT, CORDON]);
  expect(new Set(api.events.map(({ reason, note }) => `${reason}: ${note}`))).toEqual(
    new Set(["taint", "cordon"].map((word) => `NodeTrusted: w-1 is trusted again: ${word} taken away (A-7K2R)`)),
  );
  expect(JSON.stringify(node)).not.toContain("hullmark");
});

test("a malicious verifier marks no node that the configuration does not allow, nor more than it allows, nor another cluster's; and an intent is about a pod or a node", async () => {
  for (const name of ["w-1", "w-2", "db-1"]) api.add(name);
  const own = actuator({ allow: ["w-*"], hourly: 1, atOnce: 1, pauseMs: 600_000 });
  await own.offer(mark("db-1"));
  await own.offer(mark("w-1", { cluster: "staging" }));
  await own.offer(mark("w-1", { cluster: "", nodeId: "00112233445566aa" }));
  await own.offer(lift("w-1"));
  await own.offer(mark("w-1"));
  await own.offer(mark("w-1", { actionId: "A-7K2R" }));
  await own.offer(mark("w-2", { actionId: "A-7K2S" }));
  expect(told()).toEqual([
    ["REFUSED", "protected"],
    ["REFUSED", "not-ours"],
    ["DONE", ...ALL],
    ["REFUSED", "cooling-down"],
    ["REFUSED", "breaker"],
  ]);
  // What a limit holds back fills nobody's Events; nor does anything else, however often it is asked for.
  const undone = () => api.events.filter(({ reason }) => reason.endsWith("Failed")).map(({ note }) => note.replace(/.*: /, ""));
  expect(undone()).toEqual(["protected (A-7K2Q)", "not-ours (A-7K2Q)"]);
  for (const n of [2, 3, 4, 5, 6]) for (const name of ["db-1", "w-2"]) await own.offer(mark(name, { actionId: `A-7K3${n}` }));
  expect(undone().slice(2)).toEqual(["protected (A-7K32)", "protected (A-7K33)"]);
  nowMs += 3_600_000;
  await own.offer(mark("db-1", { actionId: "A-7K2X" }));
  expect(undone().slice(4)).toEqual(["protected (A-7K2X)"]);
  reports.splice(5);
  const before = structuredClone([...api.nodes]);
  // In no form that an intent has: nobody is answered.
  const pod = podIntent(new FakeCluster().add("web"), ActionKind.MARK_NODE, nowMs);
  await own.offer(mark("w-2", { ...pod, actionId: "A-7K2Q" }));
  await own.offer(mark("w-2", { podName: "web" }));
  await own.offer(mark("w-2", { containerId: "a".repeat(64) }));
  await own.offer(mark("w-2", { cluster: "Not A Name" }));
  expect(told()).toHaveLength(5);
  expect([...api.nodes]).toEqual(before);
});

test("the configuration of a cluster's actuator allows nodes by name, and has no hook; a host's must have one", () => {
  const example = readFileSync(new URL("../../deploy/config/actuator-kubernetes.example.yaml", import.meta.url), "utf8");
  expect(parseConfig(example, "a.yaml").nodes).toBeUndefined();
  expect(parseConfig(example.replace(/^#(?=nodes:| {2})/gm, ""), "a.yaml").nodes).toEqual({ allow: ["w-*"], hourly: 1, atOnce: 1 });
  const whole = (rest: string) => `stateDirectory: /s\ncredentialDirectory: /c\nverifier: { address: "v:1" }\n${rest}`;
  expect(() => parseConfig(whole("nodes: { allow: [w] }\n"), "a.yaml")).toThrow(/want hook/);
  expect(() => parseConfig(whole("kubernetes: { namespace: h }\nnodes: { hook: { command: /m }, allow: [w] }\n"), "a.yaml")).toThrow(/none in a cluster/);
});
