/** A pod that is cut off from the network, and what nobody can have cut off or joined again; and what is asked of the API server for it. */
import { generateKeyPairSync, randomUUID, sign, verify } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { FileLedger } from "@hullmark/actuator/adapters/file-ledger/file-ledger";
import { KubernetesFence } from "@hullmark/actuator/adapters/kubernetes/kubernetes-fence";
import { Actuator } from "@hullmark/actuator/core/actuator";
import type { ActuatorFailpoint } from "@hullmark/actuator/core/carry-out";
import { ClusterHands } from "@hullmark/actuator/core/cluster-hands";
import { FENCE_FAILPOINTS } from "@hullmark/actuator/core/pod-isolation";
import { EngineError } from "@hullmark/actuator/ports/engine";
import { ISOLATED_LABEL } from "@hullmark/actuator/ports/pod-fence";
import type { ApiAnswer } from "@hullmark/daemon/api-server";
import { intentMessage } from "@hullmark/proto/codec";
import { ActionKind, IntentSchema, Outcome } from "@hullmark/proto/v1/response";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeCluster, FakeFence, FakeRollouts } from "../fakes/cluster.ts";
import { type AddedPod, IDENTITY, type IntentInit, podIntent } from "../fakes/pod-intent.ts";

const T0 = 1_700_000_000_000;
const keys = generateKeyPairSync("ed25519");

let directory: string;
let ledger: FileLedger;
let cluster: FakeCluster;
let fence: FakeFence;
let nowMs: number;
let reports: { outcome: Outcome; reason: string; detail: string }[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-pod-isolation-"));
  nowMs = T0;
  ledger = new FileLedger(directory, nowMs);
  cluster = new FakeCluster();
  fence = new FakeFence(cluster);
  reports = [];
});
afterEach(() => {
  ledger.close();
  rmSync(directory, { recursive: true });
});

function actuator({ enforced = true, hourlyPercent = 100, passing = (_point: ActuatorFailpoint): void => {} } = {}): Actuator {
  const limits = { pauseMs: 600_000, hourlyPercent, protect: ["shop/db*"] };
  const services = {
    cluster,
    ledger,
    fence,
    rollouts: new FakeRollouts(),
    limits,
    ownNamespace: "hullmark",
    networkPolicyEnforced: enforced,
    onUntold: () => {},
  };
  return new Actuator({
    ...{ identity: IDENTITY, ledger, hands: new ClusterHands(services), passing, nowMs: () => nowMs, told: () => {} },
    verify: (message, signature) => verify(null, message, keys.publicKey, signature),
    report: async (_id, { outcome, reason, detail }) => void reports.push({ outcome, reason, detail }),
  });
}

function intent(pod: AddedPod, kind = ActionKind.ISOLATE, more: IntentInit = {}) {
  const body = toBinary(IntentSchema, create(IntentSchema, podIntent(pod, kind, nowMs, more)));
  return { body, signatures: [sign(null, intentMessage(body), keys.privateKey)] };
}

const outcomes = () => reports.map(({ outcome, reason }) => (reason ? `${Outcome[outcome]} ${reason}` : Outcome[outcome]));
const labelOf = (name: string, namespace = "shop") => cluster.pods.get(`${namespace}/${name}`)?.labels[ISOLATED_LABEL];

test("a pod is labelled with its action below the namespace's policy, keeps its other labels, and is as before once it is released, whichever container runs then", async () => {
  const web = cluster.add("web", { labels: { app: "web" } });
  await actuator().offer(intent(web));
  expect(cluster.pods.get("shop/web")?.labels).toEqual({ app: "web", [ISOLATED_LABEL]: "A-7K2Q" });
  expect(fence.raised).toBe(1);
  const [pod] = [...cluster.pods.values()];
  if (pod) cluster.pods.set("shop/web", { ...pod, containers: [] });
  nowMs += 100 * 86_400_000;
  ledger.close();
  ledger = new FileLedger(directory, nowMs);
  await actuator({ hourlyPercent: 0 }).offer(intent(web, ActionKind.RELEASE, { actionId: "A-7K2R" }));
  expect(cluster.pods.get("shop/web")?.labels).toEqual({ app: "web" });
  expect(outcomes()).toEqual(["DONE", "DONE"]);
  expect(cluster.events.map(({ reason, warning, note }) => `${reason} ${warning} ${note}`)).toEqual([
    "Isolated false web is cut off from the network, since it drifted (A-7K2Q, D-7K2Q)",
    "Released false web is on the network again, by people's word (A-7K2R, D-7K2Q)",
  ]);
});

test("where nobody has said that policies are enforced it is asked for, and that is all that is said", async () => {
  await actuator({ enforced: false }).offer(intent(cluster.add("web")));
  expect(labelOf("web")).toBe("A-7K2Q");
  expect(reports).toMatchObject([{ outcome: Outcome.DONE, reason: "enforcement-unknown", detail: expect.stringContaining("networkPolicyEnforced") }]);
});

test.each<[string, Parameters<FakeCluster["add"]>, string]>([
  ["one on its node's network", ["web", { hostNetwork: true }], "host-network"],
  ["one whose label forbids it", ["web", { labels: { "hullmark.dev/isolate": "never" } }], "isolate-never"],
  ["a static pod", ["web", { isStatic: true }], "static-pod"],
  ["a pod of the system", ["dns", {}, "kube-system"], "protected"],
  ["one of its own namespace", ["verifier", {}, "hullmark"], "protected"],
  ["a protected service", ["db-1"], "protected"],
])("%s is left as it is", async (_name, added, reason) => {
  await actuator().offer(intent(cluster.add(...added)));
  expect(outcomes()).toEqual([`REFUSED ${reason}`]);
  expect(labelOf(added[0], added[2])).toBeUndefined();
});

test("one that ends, and may take its time for that, is cut off until it has", async () => {
  await actuator().offer(intent(cluster.add("web", { endsMs: T0 + 3_600_000 })));
  expect(outcomes()).toEqual(["DONE"]);
  expect(labelOf("web")).toBe("A-7K2Q");
});

test("one that ends in a namespace that ends with it, where nothing can be made any more, is left to end: no failure, and nothing to tell", async () => {
  fence.failures.set("raise", new EngineError("ENGINE_REFUSED", "the API server answers 403: it is being terminated"));
  await actuator().offer(intent(cluster.add("web", { endsMs: T0 + 30_000 })));
  expect(outcomes()).toEqual(["REFUSED terminating"]);
  expect(labelOf("web")).toBeUndefined();
  expect(cluster.events).toEqual([]);
});

test.each<[string, IntentInit, string]>([
  ["another pod under that name", { podUid: randomUUID() }, "other-pod"],
  ["a pod of another node", { podNode: "w-2" }, "on-other-node"],
  ["another container", { containerId: "a".repeat(64) }, "other-container"],
])("%s is not meant", async (_name, more, reason) => {
  await actuator().offer(intent(cluster.add("web"), ActionKind.ISOLATE, more));
  expect(outcomes()).toEqual([`REFUSED ${reason}`]);
  expect(fence.raised).toBe(0);
});

test("one of whom another policy lets something through is left, since no policy takes that away; so it is where it may not be looked", async () => {
  fence.opened = ["allow-web", "dns"];
  await actuator().offer(intent(cluster.add("web")));
  fence.failures.set("openings", new EngineError("ENGINE_REFUSED", "the API server answers 403"));
  await actuator().offer(intent(cluster.add("api")));
  expect(reports).toMatchObject([
    { outcome: Outcome.REFUSED, reason: "allowed-by-policy", detail: expect.stringMatching(/: allow-web, dns$/) },
    { outcome: Outcome.REFUSED, reason: "no-right" },
  ]);
  expect(cluster.events.map(({ reason, warning, note }) => `${reason} ${warning} ${note}`)).toEqual([
    expect.stringMatching(/^IsolationFailed true web was not isolated: allowed-by-policy: .*: allow-web, dns \(A-7K2Q, D-7K2Q\)$/),
    expect.stringMatching(/^IsolationFailed true api was not isolated: no-right: /),
  ]);
  expect([labelOf("web"), labelOf("api")]).toEqual([undefined, undefined]);
});

test("a policy that selects the label itself opens what is isolated: it is found before the pod has the label, and one that comes meanwhile after it", async () => {
  fence.openedByLabel = ["let-isolated-out"];
  await actuator().offer(intent(cluster.add("web")));
  expect(reports).toMatchObject([{ outcome: Outcome.REFUSED, reason: "allowed-by-policy", detail: expect.stringContaining("let-isolated-out") }]);
  expect(labelOf("web")).toBeUndefined();
  fence.openedByLabel = [];
  const subject = actuator({ passing: (point) => point === "labelled" && fence.openedByLabel.push("meanwhile") });
  await subject.offer(intent(cluster.add("api")));
  expect(outcomes()).toEqual(["REFUSED allowed-by-policy", "FAILED allowed-by-policy"]);
});

test("a label that is there before the action, whoever put it on, does not stand for the policy", async () => {
  await actuator().offer(intent(cluster.add("web", { labels: { [ISOLATED_LABEL]: "A-7K2Q" } })));
  expect(outcomes()).toEqual(["DONE"]);
  expect(fence.raised).toBe(1);
});

test("a pod of which two containers are isolated is released with the second, and with the first where the other has gone", async () => {
  const other = "c".repeat(64);
  const isolated = async (name: string) => {
    const pod = cluster.add(name);
    const [image] = pod.target.imageDigests;
    const found = cluster.pods.get(`shop/${name}`);
    if (found)
      cluster.pods.set(`shop/${name}`, {
        ...found,
        containers: [...found.containers, { name: "side", id: other, imageDigest: image ?? "", image: "", running: true }],
      });
    nowMs += 3_600_000;
    await actuator().offer(intent(pod, ActionKind.ISOLATE, { actionId: "A-0002" }));
    nowMs += 3_600_000;
    await actuator().offer(intent(pod, ActionKind.ISOLATE, { actionId: "A-0003", containerId: other, podContainer: "side" }));
    return pod;
  };
  const web = await isolated("web");
  await actuator().offer(intent(web, ActionKind.RELEASE, { actionId: "A-0004", containerId: other, podContainer: "side" }));
  expect(labelOf("web")).toBe("A-0002");
  expect(reports.at(-1)).toMatchObject({ outcome: Outcome.DONE, reason: "still-isolated", detail: expect.stringContaining("A-0002") });
  expect(cluster.events.at(-1)).toMatchObject({ reason: "Released", note: expect.stringContaining("stays off the network") });
  await actuator().offer(intent(web, ActionKind.RELEASE, { actionId: "A-0005" }));
  expect(labelOf("web")).toBeUndefined();
  const api = await isolated("api");
  const found = cluster.pods.get("shop/api");
  if (found) cluster.pods.set("shop/api", { ...found, containers: found.containers.filter(({ id }) => id !== other) });
  await actuator().offer(intent(api, ActionKind.RELEASE, { actionId: "A-0006" }));
  expect(labelOf("api")).toBeUndefined();
});

test("releases nothing that it has not isolated itself, nor another pod of that name, and counts isolations alone", async () => {
  const [web, api] = [cluster.add("web", { labels: { [ISOLATED_LABEL]: "by-hand" } }), cluster.add("api")];
  await actuator().offer(intent(web, ActionKind.RELEASE));
  expect(labelOf("web")).toBe("by-hand");
  await actuator().offer(intent(api));
  cluster.add("api");
  await actuator().offer(intent(api, ActionKind.RELEASE));
  await actuator({ hourlyPercent: 0 }).offer(intent(web));
  expect(outcomes()).toEqual(["REFUSED not-ours", "DONE", "REFUSED gone", "REFUSED breaker"]);
});

test.each(FENCE_FAILPOINTS)("killed at %s, it goes on where it was, both ways", async (point) => {
  const web = cluster.add("web");
  const dying = () =>
    actuator({
      passing: (at) => {
        if (at === point) throw new Error("killed");
      },
    });
  await expect(dying().offer(intent(web))).rejects.toThrow("killed");
  await actuator().resume();
  expect(labelOf("web")).toBe("A-7K2Q");
  if (point === "labelled") await expect(dying().offer(intent(web, ActionKind.RELEASE))).rejects.toThrow("killed");
  else await actuator().offer(intent(web, ActionKind.RELEASE));
  await actuator().resume();
  expect(labelOf("web")).toBeUndefined();
  expect(outcomes()).toEqual(["DONE", "DONE"]);
});

test.each(["raise", "label"] as const)("%s that is refused is told; the API server away: it is asked again", async (method) => {
  const [web, api] = [cluster.add("web"), cluster.add("api")];
  fence.failures.set(method, new EngineError("ENGINE_REFUSED", "no right"));
  await actuator().offer(intent(web));
  expect(reports).toMatchObject([{ outcome: Outcome.FAILED, reason: "engine", detail: "ENGINE_REFUSED: no right" }]);
  expect(cluster.events.at(-1)).toMatchObject({ reason: "IsolationFailed", warning: true });
  fence.failures.set(method, new EngineError("ENGINE_UNREACHABLE", "away"));
  const subject = actuator();
  await expect(subject.offer(intent(api))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
  await subject.resume();
  expect(labelOf("api")).toBe("A-7K2Q");
});

test("policy and label that were written and not answered are not written again, nor is the label that was taken away", async () => {
  const [web, subject] = [cluster.add("web"), actuator()];
  for (const kind of [ActionKind.ISOLATE, ActionKind.RELEASE]) {
    if (kind === ActionKind.ISOLATE) fence.unheard.add("raise");
    fence.unheard.add("label");
    await expect(subject.offer(intent(web, kind, { actionId: "A-7K2Q" }))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    if (kind === ActionKind.ISOLATE) await expect(subject.resume()).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    // The intent may have ended by now.
    nowMs += 60 * 60_000;
    await subject.resume();
    expect(labelOf("web")).toBe(kind === ActionKind.ISOLATE ? "A-7K2Q" : undefined);
  }
  expect([fence.labelled, outcomes()]).toEqual([2, ["DONE", "DONE"]]);
  expect(cluster.events.map(({ reason }) => reason)).toEqual(["Isolated", "Released"]);
});

describe("what is asked of the API server", () => {
  const policy = (name: string, podSelector: object, spec: object) => ({
    metadata: { name },
    spec: { podSelector, policyTypes: ["Ingress", "Egress"], ...spec },
  });
  const answering = (answer: (method: string, path: string) => ApiAnswer) => {
    const asked: { method: string; path: string; body?: unknown }[] = [];
    const say =
      (method: string) =>
      async (path: string, body?: unknown): Promise<ApiAnswer> => {
        asked.push({ method, path, ...(body !== undefined && { body }) });
        return answer(method, path);
      };
    return { asked, fence: new KubernetesFence({ get: say("get"), post: say("post"), patch: say("patch") }) };
  };
  const ok = (body: unknown): ApiAnswer => ({ status: 200, body });

  test("a policy opens where it selects the pod and has a rule in a direction that it speaks of", async () => {
    const rules = { ingress: [{}] };
    const expression = (operator: string, values?: string[]) => ({ matchExpressions: [{ key: "app", operator, ...(values && { values }) }] });
    const items = [
      policy("all", {}, rules),
      policy("own", { matchLabels: { app: "web" } }, { egress: [{}] }),
      policy("others", { matchLabels: { app: "api" } }, rules),
      policy("more-labels", { matchLabels: { app: "web", tier: "x" } }, rules),
      policy("denies", {}, {}),
      policy("not-spoken-of", {}, { policyTypes: ["Ingress"], egress: [{}] }),
      policy("in", expression("In", ["web"]), rules),
      policy("not-in", expression("NotIn", ["web"]), rules),
      policy("exists", expression("Exists"), rules),
      policy("lacks", expression("DoesNotExist"), rules),
      policy("unknown", expression("Resembles"), rules),
      policy("hullmark-isolated", {}, rules),
    ];
    const { fence: subject, asked } = answering((_method, path) => {
      const second = path.includes("continue=");
      return ok({ metadata: second ? {} : { continue: "n=2&x" }, items: second ? items.slice(6) : items.slice(0, 6) });
    });
    expect(await subject.openings({ namespace: "shop" }, { app: "web" })).toEqual(["all", "own", "in", "exists", "unknown"]);
    expect(asked.map(({ path }) => path)).toEqual([
      "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies?limit=200",
      "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies?limit=200&continue=n%3D2%26x",
    ]);
    const endless = answering(() => ok({ metadata: { continue: "x" }, items: [] }));
    await expect(endless.fence.openings({ namespace: "shop" }, {})).rejects.toMatchObject({ code: "ENGINE_REFUSED" });
    await expect(answering(() => ok({ items: [{}] })).fence.openings({ namespace: "shop" }, {})).rejects.toMatchObject({ code: "ENGINE_REFUSED" });
  });

  test("the policy is made where there is none, put right where somebody changed it, and left where it is right", async () => {
    const spec = { podSelector: { matchExpressions: [{ key: ISOLATED_LABEL, operator: "Exists" }] }, policyTypes: ["Ingress", "Egress"] };
    const absent = answering((method) => ({ status: method === "get" ? 404 : 201, body: {} }));
    await absent.fence.raise({ namespace: "shop" });
    expect(absent.asked[1]).toMatchObject({
      method: "post",
      body: { kind: "NetworkPolicy", metadata: { name: "hullmark-isolated", namespace: "shop" }, spec },
    });
    const right = answering(() => ok({ metadata: { name: "hullmark-isolated" }, spec }));
    await right.fence.raise({ namespace: "shop" });
    expect(right.asked).toHaveLength(1);
    const opened = answering(() => ok({ metadata: { name: "hullmark-isolated" }, spec: { ...spec, egress: [{}] } }));
    await opened.fence.raise({ namespace: "shop" });
    expect(opened.asked[1]).toMatchObject({ method: "patch", body: { spec: { ingress: null, egress: null, policyTypes: spec.policyTypes } } });
  });

  test("a label is put on the pod of this uid, and taken off it", async () => {
    const { target } = cluster.add("web");
    const { fence: subject, asked } = answering(() => ok({}));
    await subject.label(target, "A-7K2Q");
    await subject.label(target, undefined);
    expect(asked.map(({ path, body }) => ({ path, body }))).toEqual(
      ["A-7K2Q", null].map((action) => ({
        path: "/api/v1/namespaces/shop/pods/web",
        body: {
          metadata: {
            ...{ uid: target.uid, labels: { [ISOLATED_LABEL]: action } },
            annotations: action
              ? { "hullmark.dev/action": action, "hullmark.dev/drift": "D-7K2Q", "hullmark.dev/drift-log-index": "7" }
              : { "hullmark.dev/action": null, "hullmark.dev/drift": null, "hullmark.dev/drift-log-index": null },
          },
        },
      })),
    );
    await expect(answering(() => ({ status: 403, body: {} })).fence.label(target, "A-7K2Q")).rejects.toMatchObject({ code: "ENGINE_REFUSED" });
  });
});
