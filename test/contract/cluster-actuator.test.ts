/** A malicious verifier against a cluster's actuator: what it cannot have evicted. And budgets, pods that take their time, and crashes at every step. */
import { generateKeyPairSync, randomUUID, sign, verify } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { FileLedger } from "@hullmark/actuator/adapters/file-ledger/file-ledger";
import { KubernetesCluster } from "@hullmark/actuator/adapters/kubernetes/kubernetes-cluster";
import { parseConfig } from "@hullmark/actuator/config";
import { Actuator } from "@hullmark/actuator/core/actuator";
import { type ActuatorFailpoint, CLUSTER_FAILPOINTS } from "@hullmark/actuator/core/carry-out";
import { ClusterHands, STUCK_MS } from "@hullmark/actuator/core/cluster-hands";
import type { LocalLimits } from "@hullmark/actuator/core/hands";
import { overLocalLimit } from "@hullmark/actuator/core/local-limits";
import type { ClusterPod } from "@hullmark/actuator/ports/cluster";
import { EngineError } from "@hullmark/actuator/ports/engine";
import type { LedgerEntry } from "@hullmark/actuator/ports/ledger";
import { AnswerTooLarge, type ApiAnswer } from "@hullmark/daemon/api-server";
import { intentMessage } from "@hullmark/proto/codec";
import { ActionKind, IntentSchema, NodeMark, Outcome } from "@hullmark/proto/v1/response";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeCluster, FakeFence, FakeRollouts } from "../fakes/cluster.ts";
import { type AddedPod, IDENTITY, type IntentInit, LIFE_MS, podIntent } from "../fakes/pod-intent.ts";

const OWN_NAMESPACE = "hullmark";
const T0 = 1_700_000_000_000;
const keys = generateKeyPairSync("ed25519");
const LIMITS: LocalLimits = { pauseMs: 600_000, hourlyPercent: 100, protect: ["shop/db*"] };

let directory: string;
let ledger: FileLedger;
let cluster: FakeCluster;
let nowMs: number;
let reports: { outcome: Outcome; reason: string; detail: string }[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-cluster-actuator-"));
  nowMs = T0;
  ledger = new FileLedger(directory, nowMs);
  cluster = new FakeCluster();
  reports = [];
});
afterEach(() => {
  ledger.close();
  rmSync(directory, { recursive: true });
});

function actuator(limits = LIMITS, passing: (point: ActuatorFailpoint) => void = () => {}): Actuator {
  return new Actuator({
    hands: new ClusterHands({
      cluster,
      ledger,
      rollouts: new FakeRollouts(),
      fence: new FakeFence(cluster),
      limits,
      ownNamespace: OWN_NAMESPACE,
      onUntold: () => {},
    }),
    ...{ identity: IDENTITY, ledger },
    verify: (message, signature) => verify(null, message, keys.publicKey, signature),
    report: async (_id, { outcome, reason, detail }) => void reports.push({ outcome, reason, detail }),
    nowMs: () => nowMs,
    passing,
    told: () => {},
  });
}

function intent(pod: AddedPod, more: IntentInit = {}, key = keys.privateKey) {
  const body = toBinary(IntentSchema, create(IntentSchema, podIntent(pod, ActionKind.EVICT, nowMs, more)));
  return { body, signatures: [sign(null, intentMessage(body), key)] };
}

const outcomes = () => reports.map(({ outcome, reason }) => (reason ? `${Outcome[outcome]} ${reason}` : Outcome[outcome]));

test("a pod is evicted, told when it is gone, and never again", async () => {
  cluster.endsMs = T0 + 30_000;
  const web = cluster.add("web");
  const signed = { ...intent(web), logIndex: 41n };
  const first = actuator();
  await first.offer(signed);
  await first.resume();
  expect(outcomes()).toEqual(["WAITING terminating"]);
  cluster.pods.delete("shop/web");
  await first.resume();
  await first.resume();
  expect(outcomes()).toEqual(["WAITING terminating", "DONE"]);
  expect(cluster.events.map(({ reason, warning, note }) => `${reason} ${warning} ${note}`)).toEqual([
    "Evicting false web is evicted, since it drifted (A-7K2Q, D-7K2Q)",
    "Evicted false web is gone: it had drifted (A-7K2Q, D-7K2Q)",
  ]);
  expect(cluster.events.map(({ logIndex }) => logIndex)).toEqual([41, 41]);
  // Another of the same name is another pod, and an intent is carried out once: after a restart too.
  cluster.add("web");
  ledger.close();
  ledger = new FileLedger(directory, nowMs);
  await actuator().offer(signed);
  await actuator().offer(intent(web));
  expect(cluster.evicted).toEqual(["shop/web"]);
  expect(outcomes()).toEqual(["WAITING terminating", "DONE", "DONE", "REFUSED other-pod"]);
});

describe("what it cannot be made to do", () => {
  test.each<[string, (web: AddedPod) => ReturnType<typeof intent>, string | undefined]>([
    ["another key's word", (web) => intent(web, {}, generateKeyPairSync("ed25519").privateKey), undefined],
    ["another pod under that name", (web) => intent(web, { podUid: randomUUID() }), "other-pod"],
    ["a pod that is not there", (web) => intent(web, { podName: "api" }), "gone"],
    ["a pod of another node", (web) => intent(web, { podNode: "w-2" }), "on-other-node"],
    ["another container than runs", (web) => intent(web, { containerId: "a".repeat(64) }), "other-container"],
    ["another container of the pod", (web) => intent(web, { podContainer: "side" }), "other-container"],
    ["another image than runs", (web) => intent(web, { podImageDigests: [`sha256:${"2".repeat(64)}`] }), "other-image"],
    ["a pod without a uid", (web) => intent(web, { podUid: "" }), undefined],
    ["a pod without an image", (web) => intent(web, { podImageDigests: [] }), undefined],
    ["an image by a tag", (web) => intent(web, { podImageDigests: ["web:1"] }), undefined],
    ["another path than a pod's", (web) => intent(web, { podName: "../nodes/w-1" }), undefined],
    ["another namespace by its name", (web) => intent(web, { podNamespace: "shop/pods/x" }), undefined],
    ["another cluster's intent", (web) => intent(web, { cluster: "test" }), undefined],
    ["an intent for a node as well", (web) => intent(web, { nodeId: "00112233445566aa" }), undefined],
    ["a node's intent", (web) => intent(web, { cluster: "" }), undefined],
    ["another region's intent", (web) => intent(web, { region: "us-1" }), undefined],
    ["one that has ended", (web) => intent(web, { issuedAt: timestampFromMs(T0 - LIFE_MS), expiresAt: timestampFromMs(T0) }), "expired"],
    ["one that lives for long", (web) => intent(web, { expiresAt: timestampFromMs(T0 + 3_600_000) }), "lifetime"],
    ["stopping a container", (web) => intent(web, { kind: ActionKind.STOP }), "unknown-kind"],
    ["a rollback without a revision", (web) => intent(web, { kind: ActionKind.ROLLBACK }), undefined],
  ])("%s", async (_name, make, reason) => {
    await actuator().offer(make(cluster.add("web")));
    expect(cluster.evicted).toEqual([]);
    expect(outcomes()).toEqual(reason === undefined ? [] : [`REFUSED ${reason}`]);
  });

  test("stopping a container under cover of no pod at all", async () => {
    const none = { cluster: "", podNamespace: "", podName: "", podUid: "", podContainer: "", podNode: "", podImageDigests: [] };
    await actuator().offer(intent(cluster.add("web"), { ...none, kind: ActionKind.STOP }));
    expect(cluster.evicted).toEqual([]);
    expect(outcomes()).toEqual([]);
  });

  test.each<[string, Parameters<FakeCluster["add"]>, string]>([
    ["a pod of the system", ["etcd", {}, "kube-system"], "protected"],
    ["one of its own namespace", ["verifier", {}, OWN_NAMESPACE], "protected"],
    ["a protected service", ["db-1"], "protected"],
    ["a static pod", ["web", { isStatic: true }], "static-pod"],
    ["one that ends already", ["web", { endsMs: T0 }], "terminating"],
    ["one that does not run", ["web", { running: false }], "not-running"],
    ["one whose label forbids it", ["web", { labels: { "hullmark.dev/evict": "never" } }], "evict-never"],
    ["one that nobody would make again", ["web", { owner: undefined }], "bare-pod"],
  ])("%s", async (_name, added, reason) => {
    await actuator().offer(intent(cluster.add(...added)));
    expect(cluster.evicted).toEqual([]);
    expect(outcomes()).toEqual([`REFUSED ${reason}`]);
  });

  test("a pod of which an init container runs, and nothing else yet, is one that runs", async () => {
    const init = cluster.add("web");
    const pod = cluster.pods.get("shop/web");
    if (pod) cluster.pods.set("shop/web", { ...pod, running: false });
    await actuator().offer(intent(init));
    expect(cluster.evicted).toEqual(["shop/web"]);
  });

  test("that it is not evicted is told on the pod, with the reason; its own limits pass, and another of that name is none of it", async () => {
    const web = cluster.add("web", { labels: { "hullmark.dev/evict": "never" } });
    await actuator().offer({ ...intent(web), logIndex: 41n });
    expect(cluster.events).toMatchObject([{ reason: "EvictionFailed", warning: true, logIndex: 41, pod: web.target }]);
    expect(cluster.events[0]?.note).toBe("web was not evicted: evict-never (A-7K2Q, D-7K2Q)");
    cluster.events.length = 0;
    await actuator().offer(intent(cluster.add("api"), { podUid: randomUUID() }));
    await actuator({ ...LIMITS, hourlyPercent: 0 }).offer(intent(cluster.add("a")));
    await actuator({ ...LIMITS, hourlyPercent: 0 }).offer(intent(cluster.add("b")));
    expect(outcomes().slice(1)).toEqual(["REFUSED other-pod", "WAITING terminating", "REFUSED breaker"]);
    expect(cluster.events.map(({ pod, reason }) => `${pod.name} ${reason}`)).toEqual(["a Evicting"]);
  });

  test.each<[string, Parameters<FakeCluster["add"]>, IntentInit]>([
    ["a pod of the system", ["etcd", {}, "kube-system"], {}],
    ["one of its own namespace", ["verifier", {}, OWN_NAMESPACE], {}],
    ["a protected service", ["db-1"], {}],
    ["a pod of another node, by this one's word", ["web"], { podNode: "w-2" }],
    ["a static pod of another node, by the uid that the API server has of it", ["web", { isStatic: true }], { podNode: "w-2" }],
  ])("nothing is written on %s", async (_name, added, more) => {
    const pod = cluster.add(...added);
    const uid = cluster.pods.get(`${added[2] ?? "shop"}/${added[0]}`)?.uid ?? "";
    await actuator().offer(intent(pod, { ...more, podUid: uid }));
    expect(reports).toMatchObject([{ outcome: Outcome.REFUSED }]);
    expect(cluster.events).toEqual([]);
  });

  test("nor is told of one that ends already: that passes too, for it goes by itself", async () => {
    await actuator().offer(intent(cluster.add("web", { endsMs: T0 })));
    expect(outcomes()).toEqual(["REFUSED terminating"]);
    expect(cluster.events).toEqual([]);
  });

  test("policy that says so takes what nobody would make again", async () => {
    await actuator().offer(intent(cluster.add("web", { owner: undefined }), { owners: ["bare-pod"] }));
    await actuator().resume();
    expect(outcomes().at(-1)).toBe("DONE");
  });

  test("more than its own breaker allows, and none the faster for restarts", async () => {
    const limits = { ...LIMITS, hourlyPercent: 2 };
    const victims = Array.from({ length: 100 }, (_, i) => cluster.add(`web-${i}`));
    for (const each of victims.slice(0, 50)) await actuator(limits).offer(intent(each));
    ledger.close();
    ledger = new FileLedger(directory, nowMs);
    for (const each of victims.slice(50)) await actuator(limits).offer(intent(each));
    expect(cluster.evicted.length).toBeLessThanOrEqual(2);
    expect(outcomes().filter((each) => each === "REFUSED breaker").length).toBeGreaterThanOrEqual(98);
  });

  test("pods are counted for the second action of an hour, and for no first", async () => {
    const subject = actuator({ ...LIMITS, hourlyPercent: 100, pauseMs: 0 });
    for (const other of ["a", "b", "c"]) cluster.add(other);
    const counts: number[] = [];
    for (const laterMs of [0, 0, 3_600_000]) {
      nowMs += laterMs;
      await subject.offer(intent(cluster.add(`web-${counts.length}`)));
      counts.push(cluster.counts);
    }
    expect([counts, cluster.evicted.length]).toEqual([[0, 1, 1], 3]);
  });

  test("one service again and again: its pods are one, by what makes them", async () => {
    for (const other of ["a", "b", "c"]) cluster.add(other);
    await actuator().offer(intent(cluster.add("web-x1", { owner: "Deployment/web" })));
    await actuator().offer(intent(cluster.add("web-x2", { owner: "Deployment/web" })));
    expect(outcomes().at(-1)).toBe("REFUSED cooling-down");
    expect(cluster.evicted).toEqual(["shop/web-x1"]);
  });
});

test("marks on nodes and lifts take nothing of the limits of pods, by their number or a name that is one's: they have their own", () => {
  const before = { restartPolicy: { name: "", maximumRetryCount: 0 }, containerId: "", settled: undefined, reported: false };
  const at = { receivedAtMs: T0, expiresAtMs: T0 + LIFE_MS };
  const entry = (name: string, kind: ActionKind): LedgerEntry => ({ ...before, ...at, intentId: randomUUID(), actionId: "A-7K2Q", name, kind });
  const node = { nodeId: "00112233445566bb", name: "w-1", marks: [NodeMark.CORDON], reason: "boot" };
  const ofNodes = [ActionKind.MARK_NODE, ActionKind.LIFT_NODE].map((kind) => ({ ...entry(node.name, kind), node }));
  const [one, two] = [entry("shop/web", ActionKind.EVICT), entry("shop/cart", ActionKind.EVICT)];
  const over = (name: string, ledger: readonly LedgerEntry[]) => overLocalLimit(name, ledger, 100, T0, { ...LIMITS, hourlyPercent: 2 });
  expect([over("shop/db", ofNodes), over("w-1", ofNodes), over("shop/db", [...ofNodes, one])]).toEqual([undefined, undefined, undefined]);
  expect([over("shop/db", [...ofNodes, one, two]), over("shop/web", [...ofNodes, one])]).toEqual(["breaker", "cooling-down"]);
});

describe("a budget that forbids", () => {
  test("is told of once, waited for as long as it says, holds up no other pod, and gives way", async () => {
    cluster.budget = "the disruption budget web needs 2 healthy pods and has 2 currently";
    const [subject, api] = [actuator(), cluster.add("api")];
    await subject.offer(intent(cluster.add("web")));
    await subject.resume();
    expect(reports).toEqual([{ outcome: Outcome.WAITING, reason: "pdb", detail: cluster.budget }]);
    expect(cluster.events.at(-1)).toMatchObject({ reason: "EvictionWaits", warning: true, note: expect.stringContaining("needs 2 healthy pods") });
    cluster.budget = undefined;
    await subject.offer(intent(api));
    expect(cluster.evicted).toEqual(["shop/api"]);
    await subject.resume();
    expect(cluster.evicted).toEqual(["shop/api"]);
    nowMs += 10_000;
    await subject.resume();
    await subject.resume();
    expect(cluster.evicted).toEqual(["shop/api", "shop/web"]);
    expect(outcomes().filter((each) => each === "DONE")).toHaveLength(2);
  });

  test.each<[string, (pod: ClusterPod) => ClusterPod, string]>([
    [
      "its container was started anew, and is clean",
      (pod) => ({ ...pod, containers: pod.containers.map((each) => ({ ...each, id: "b".repeat(64) })) }),
      "other-container",
    ],
    ["its label forbids it", (pod) => ({ ...pod, labels: { "hullmark.dev/evict": "never" } }), "evict-never"],
    ["nobody would make it again", (pod) => ({ ...pod, owner: undefined }), "bare-pod"],
    ["it has come to its end", (pod) => ({ ...pod, running: false, containers: pod.containers.map((each) => ({ ...each, running: false })) }), "not-running"],
  ])("while it is waited for %s: it is left", async (_name, change, reason) => {
    cluster.budget = "no";
    await actuator().offer(intent(cluster.add("web")));
    const pod = cluster.pods.get("shop/web");
    if (pod) cluster.pods.set("shop/web", change(pod));
    cluster.budget = undefined;
    nowMs += 10_000;
    // Its own limits are not asked again: what waits has its place.
    ledger.close();
    ledger = new FileLedger(directory, nowMs);
    await actuator().resume();
    expect(outcomes()).toEqual(["WAITING pdb", `REFUSED ${reason}`]);
    expect(cluster.evicted).toEqual([]);
    expect(cluster.events.at(-1)).toMatchObject({ reason: "EvictionFailed", note: expect.stringContaining(`was not evicted: ${reason}`) });
  });

  test("what policy lets go though nobody would make it again is still let go", async () => {
    cluster.budget = "no";
    await actuator().offer(intent(cluster.add("web", { owner: undefined }), { owners: ["bare-pod"] }));
    cluster.budget = undefined;
    nowMs += 10_000;
    ledger.close();
    ledger = new FileLedger(directory, nowMs);
    await actuator().resume();
    expect(cluster.evicted).toEqual(["shop/web"]);
  });

  test("until the intent ends: then it is told as failed, and the pod stays", async () => {
    cluster.budget = "no";
    const subject = actuator();
    await subject.offer(intent(cluster.add("web")));
    nowMs += LIFE_MS;
    cluster.budget = undefined;
    await subject.resume();
    await subject.resume();
    expect(reports.at(-1)).toEqual({ outcome: Outcome.FAILED, reason: "pdb", detail: "no" });
    expect(outcomes()).toHaveLength(2);
    expect(cluster.evicted).toEqual([]);
  });

  test("what it forbade until then takes no place in the hour, but while it was waited for; in the pause it does", async () => {
    const limits = { ...LIMITS, hourlyPercent: 0, pauseMs: LIFE_MS + 60_000 };
    const [web, api, db] = ["web", "api", "cache"].map((name) => cluster.add(name));
    if (!web || !api || !db) throw new Error("no pods");
    const subject = actuator(limits);
    cluster.budget = "no";
    await subject.offer(intent(web));
    await subject.offer(intent(api));
    expect(outcomes()).toEqual(["WAITING pdb", "REFUSED breaker"]);
    nowMs += LIFE_MS;
    await subject.resume();
    cluster.budget = undefined;
    await subject.offer(intent(web));
    await subject.offer(intent(api));
    await subject.offer(intent(db));
    expect(outcomes().slice(2)).toEqual(["FAILED pdb", "REFUSED cooling-down", "WAITING terminating", "REFUSED breaker"]);
    expect(cluster.evicted).toEqual(["shop/api"]);
  });
});

test("a pod that its node does not end is given up, long after its time", async () => {
  cluster.endsMs = T0 + 30_000;
  const subject = actuator();
  await subject.offer(intent(cluster.add("web")));
  nowMs = cluster.endsMs + STUCK_MS;
  await subject.resume();
  nowMs += 1;
  await subject.resume();
  expect(outcomes()).toEqual(["WAITING terminating", "FAILED terminating"]);
});

test.each(CLUSTER_FAILPOINTS)("killed at %s: evicted once, and told", async (point) => {
  const signed = intent(cluster.add("web"));
  const dying = actuator(LIMITS, (at) => {
    if (at === point) throw new Error("killed");
  });
  await expect(
    (async () => {
      await dying.offer(signed);
      for (let round = 0; round < 3; round++) await dying.resume();
    })(),
  ).rejects.toThrow("killed");
  ledger.close();
  ledger = new FileLedger(directory, nowMs);
  const next = actuator();
  await next.resume();
  await next.offer(signed);
  await next.resume();
  expect(cluster.evicted).toEqual(["shop/web"]);
  expect(outcomes().at(-1)).toBe("DONE");
});

test.each(["find", "evict"] as const)("an API server that is away at %s is asked again; one that refuses is told of", async (method) => {
  cluster.failures.set(method, new EngineError("ENGINE_UNREACHABLE", "away"));
  for (const other of ["a", "b"]) cluster.add(other);
  const [subject, signed] = [actuator(), intent(cluster.add("web"))];
  await expect(subject.offer(signed)).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
  await subject.offer(signed);
  await subject.resume();
  expect(outcomes().at(-1)).toBe("DONE");
  cluster.failures.set("evict", new EngineError("ENGINE_REFUSED", "two budgets"));
  await subject.offer(intent(cluster.add("api")));
  expect(reports.at(-1)).toMatchObject({ outcome: Outcome.FAILED, reason: "engine", detail: "ENGINE_REFUSED: two budgets" });
});

test.each([0, 60 * 60_000])("an eviction that was carried out and not answered is not asked for again, %i ms later", async (laterMs) => {
  cluster.unheard.add("evict");
  cluster.endsMs = nowMs + laterMs;
  const [subject, signed] = [actuator(), intent(cluster.add("web"))];
  await expect(subject.offer(signed)).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
  // The intent may have ended by now.
  nowMs += laterMs;
  await subject.resume();
  expect(outcomes()).toEqual(["WAITING terminating"]);
  cluster.pods.clear();
  await subject.resume();
  expect([cluster.evicted, outcomes().at(-1)]).toEqual([["shop/web"], "DONE"]);
  expect(cluster.events.map(({ reason }) => reason)).toEqual(["Evicting", "Evicted"]);
});

test("nothing depends on an Event", async () => {
  cluster.failures.set("tell", new EngineError("ENGINE_REFUSED", "no right"));
  await actuator().offer(intent(cluster.add("web")));
  expect(cluster.evicted).toEqual(["shop/web"]);
});

describe("what the API server answers", () => {
  const asked: { path: string; body: unknown }[] = [];
  /** @param found what there is under the pod's name, where that is asked for */
  const answering = (answer: ApiAnswer, found = answer) => {
    asked.length = 0;
    const post = async (path: string, body: unknown) => {
      asked.push({ path, body });
      return answer;
    };
    return new KubernetesCluster({ get: async () => found, post }, "actuator-0");
  };
  const budget = (causes: object[], retryAfterSeconds?: number) => ({ status: 429, body: { message: "Cannot evict", details: { causes, retryAfterSeconds } } });
  const pod = { namespace: "shop", name: "web", uid: "u-1" };
  const DISRUPTION = { reason: "DisruptionBudget", message: "web needs 2 healthy pods" };

  test.each<[string, ApiAnswer, object]>([
    ["yes", { status: 201, body: {} }, { outcome: "accepted" }],
    ["no such pod", { status: 404, body: {} }, { outcome: "gone" }],
    ["a budget", budget([DISRUPTION], 10), { outcome: "budget", why: "web needs 2 healthy pods", retryAfterMs: 10_000 }],
    ["a budget without a time", budget([DISRUPTION]), { outcome: "budget", why: "web needs 2 healthy pods", retryAfterMs: 5_000 }],
    ["a budget for ever", budget([DISRUPTION], 1e9), { outcome: "budget", why: "web needs 2 healthy pods", retryAfterMs: 60_000 }],
  ])("%s", async (_name, answer, eviction) => {
    expect(await answering(answer).evict(pod)).toEqual(eviction);
    expect(asked).toEqual([
      {
        path: "/api/v1/namespaces/shop/pods/web/eviction",
        body: { apiVersion: "policy/v1", kind: "Eviction", metadata: { name: "web", namespace: "shop" }, deleteOptions: { preconditions: { uid: "u-1" } } },
      },
    ]);
  });

  const CONFLICT: ApiAnswer = { status: 409, body: { message: "the object has been modified" } };
  const named = (uid: string): ApiAnswer => ({ status: 200, body: { metadata: { uid }, spec: {} } });

  test("a conflict says that it is gone only where it is: another, or none, has its name", async () => {
    expect(await answering(CONFLICT, named("u-2")).evict(pod)).toEqual({ outcome: "gone" });
    expect(await answering(CONFLICT, { status: 404, body: {} }).evict(pod)).toEqual({ outcome: "gone" });
    await expect(answering(CONFLICT, named("u-1")).evict(pod)).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
  });

  test.each<[string, ApiAnswer, string]>([
    ["too much to do", budget([]), "ENGINE_UNREACHABLE"],
    ["away", { status: 503, body: undefined }, "ENGINE_UNREACHABLE"],
    ["no right", { status: 403, body: { message: "forbidden" } }, "ENGINE_REFUSED"],
    ["two budgets", { status: 500, body: { message: "more than one PodDisruptionBudget" } }, "ENGINE_REFUSED"],
  ])("%s is no eviction", async (_name, answer, code) => {
    await expect(answering(answer).evict(pod)).rejects.toMatchObject({ code });
  });

  test("only pods that run are counted, page by page, and no more of them is asked for than that they are there", async () => {
    const pages: Record<string, object> = {
      "": { metadata: { continue: "a/b" }, rows: [{ cells: ["one"] }, { cells: ["two"] }] },
      "a/b": { metadata: {}, rows: [{ cells: ["three"] }] },
    };
    const forms: (string | undefined)[] = [];
    const get = async (path: string, accept?: string): Promise<ApiAnswer> => {
      const { searchParams } = new URL(path, "https://api.example");
      forms.push(accept);
      expect(searchParams.get("fieldSelector")).toBe("status.phase=Running");
      return { status: 200, body: pages[searchParams.get("continue") ?? ""] };
    };
    const post = async (): Promise<ApiAnswer> => ({ status: 500, body: {} });
    expect(await new KubernetesCluster({ get, post }, "actuator-0").countRunning()).toBe(3);
    expect(forms).toEqual(Array(2).fill("application/json;as=Table;g=meta.k8s.io;v=v1"));
    expect(await answering({ status: 200, body: { metadata: {}, rows: null } }).countRunning()).toBe(0);
    const forEver = { status: 200, body: { metadata: { continue: "on" }, rows: [{}] } };
    expect(await answering(forEver).countRunning()).toBe(50);
  });

  test("where rows are too large for an answer fewer are asked for, and what no answer holds is not counted, with all after it", async () => {
    const post = async (): Promise<ApiAnswer> => ({ status: 500, body: {} });
    const limits: number[] = [];
    /** @param tooLarge rows from the first that is */
    const counted = (tooLarge: (from: number, limit: number) => boolean): Promise<number> =>
      new KubernetesCluster(
        {
          get: async (path) => {
            const { searchParams } = new URL(path, "https://api.example");
            const [from, limit] = [Number(searchParams.get("continue") ?? 0), Number(searchParams.get("limit"))];
            limits.push(limit);
            if (tooLarge(from, limit)) throw new AnswerTooLarge();
            const rows = Math.min(limit, 600 - from);
            return { status: 200, body: { metadata: { continue: from + rows < 600 ? String(from + rows) : "" }, rows: Array(rows).fill({}) } };
          },
          post,
        },
        "actuator-0",
      ).countRunning();
    expect(await counted((_from, limit) => limit > 250)).toBe(600);
    expect(limits.slice(0, 4)).toEqual([1000, 500, 250, 500]);
    expect(await counted((from, limit) => from + Math.min(limit, 600 - from) > 400)).toBe(400);
  });

  test("what its specification asks for is told beside what it runs", async () => {
    const asked = [{ name: "web", image: "web:1" }];
    const statuses = [
      { name: "web", containerID: "containerd://c1", imageID: `web@sha256:${"1".repeat(64)}` },
      { name: "side", containerID: "containerd://c2", imageID: "" },
    ];
    const body = { metadata: { uid: "u-1" }, spec: { containers: asked }, status: { phase: "Running", containerStatuses: statuses } };
    const found = await answering({ status: 200, body }).find(pod);
    expect(found?.containers.map(({ name, id, image }) => [name, id, image])).toEqual([
      ["web", "c1", "web:1"],
      ["side", "c2", ""],
    ]);
  });

  test("while init containers run its phase says nothing yet: which of them runs is told", async () => {
    const statuses = [
      { name: "fetch", containerID: "containerd://c1", state: { terminated: { exitCode: 0 } } },
      { name: "migrate", containerID: "containerd://c2", state: { running: { startedAt: "2026-01-01T00:00:00Z" } } },
    ];
    const body = { metadata: { uid: "u-1" }, spec: {}, status: { phase: "Pending", initContainerStatuses: statuses } };
    const found = await answering({ status: 200, body }).find(pod);
    expect([found?.running, found?.containers.map(({ id, running }) => [id, running])]).toEqual([
      false,
      [
        ["c1", false],
        ["c2", true],
      ],
    ]);
  });

  test("a pod that is none is an error, and no word of its being gone", async () => {
    await expect(answering({ status: 200, body: { kind: "Status" } }).find(pod)).rejects.toMatchObject({ code: "ENGINE_REFUSED" });
  });
});

test("the example configuration names every key, with its default", () => {
  const file = new URL("../../deploy/config/actuator-kubernetes.example.yaml", import.meta.url).pathname;
  const config = parseConfig(readFileSync(file, "utf8"), file);
  const { stateDirectory, credentialDirectory, verifier, kubernetes } = config;
  expect(config).toEqual(
    parseConfig(JSON.stringify({ stateDirectory, credentialDirectory, verifier, kubernetes: { namespace: kubernetes?.namespace } }), file),
  );
  const minimal = { stateDirectory, credentialDirectory, verifier, kubernetes: { namespace: "hullmark" } };
  expect(() => parseConfig(JSON.stringify({ ...minimal, docker: {} }), "a.yaml")).toThrow(/not both/);
  const recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
  expect(() => parseConfig(JSON.stringify({ ...minimal, capture: { recipients: [recipient] } }), "a.yaml")).toThrow(/where this actuator is not/);
});
