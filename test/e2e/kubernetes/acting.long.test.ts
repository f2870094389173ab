/**
 * Acting in a cluster, what takes long: what holds actions back holds a running verifier too, killed or not, and each is done once when it ends; and what goes wrong is told on
 * the pod, with the entry of the log that had it done. By the API server as it is, with the rights that the chart gives.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { type Stack, startStack } from "../../../deploy/stack/stack.ts";
import { type Kubernetes, startTestbed, type Testbed } from "../../../deploy/testbed/index.ts";
import { type CosignKey, cosign, cosignKeyPair } from "../../fakes/cosign.ts";
import { eventually, logEntries } from "../fault-support.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { loadPrograms, type Programs } from "../images/programs.ts";
import { type PushedImage, pushImage } from "../images/push.ts";
import { Acting, type KubernetesPod, rights, type ToldAction, WITHIN_MS } from "./acting.ts";
import { podFollower, TELLING_PODS } from "./follower.ts";
import { podSpec } from "./workloads.ts";

const HOUR_MS = 3_600_000;
const all = (rung: string): string => `{ low: [${rung}], medium: [${rung}], high: [${rung}], critical: [${rung}] }`;

let bed: Testbed;
let cluster: Kubernetes;
let stack: Stack;
let programs: Programs;
let acting: Acting;
let home: string;
let key: CosignKey;
/** Signed, signed, and not signed. */
let first: PushedImage;
let second: PushedImage;
let stranger: PushedImage;

const policy = (): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: cluster }
spec:
  mode: enforce
  authorities:
    - name: release
      key: |
${readFileSync(key.publicKeyPath, "utf8").trim().replace(/^/gm, "        ")}
  rules:
    - name: acme
      select: { images: ["**/acme/**"] }
      require: { signatures: { authorities: [release] } }
  intervals: { quote: 10s, heartbeat: 2s, rescan: 60s }
  response:
    pause: 1m
    hourlyPercent: 100
    rules:
      - { name: held, select: { workloads: ["default/held-*"] }, ladder: ${all("evict")} }
      - { name: asked, select: { workloads: ["default/asked"] }, ladder: ${all("evict")}, approvals: 2 }
      - { name: isolated, select: { workloads: ["default/wrong-isolated"] }, ladder: ${all("isolate")} }
      - { name: back, select: { workloads: ["default/wrong-back"] }, untrusted: [rollback], rollbackOnOneNode: true }
      - { name: halted, select: { workloads: ["default/wrong-halt*"] }, untrusted: [halt], rollbackOnOneNode: true }
`;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-e2e-"));
  [bed, programs] = await Promise.all([startTestbed({ name: "e2e-acting", parts: { kubernetes: true, registry: true, tpms: 1 } }), loadPrograms()]);
  if (!bed.kubernetes) throw new Error("no cluster");
  cluster = bed.kubernetes;
  key = await cosignKeyPair("v2", home, "release");
  const push = (tag: string): Promise<PushedImage> => pushImage(bed.registry?.host ?? "", "acme/web", tag, acceptanceImage(programs, `acting-${tag}`));
  [first, second, stranger] = [await push("1"), await push("2"), await push("3")];
  const offline = ["--tlog-upload=false", "--allow-insecure-registry", "--allow-http-registry", "--yes"];
  for (const { reference } of [first, second]) await cosign("v2", home, ["sign", "--key", key.privateKey, ...offline, reference]);
  const kubernetes = { ...(await podFollower(cluster, home, [TELLING_PODS])), podEvents: true, pods: { graceSeconds: 5 } };
  stack = await startStack({ bed, policy: policy(), kubernetes });
  // As many actions an hour as pods.
  acting = await Acting.start({ bed, cluster, stack, programs, image: first.tagged }, {}, 1);
});

afterAll(async () => {
  await acting?.stop();
  await bed?.down();
  if (home) rmSync(home, { recursive: true, force: true });
});

function workload(app: string, image = first.tagged, { kind = "Deployment", replicas = 1, annotations = {}, options = {} } = {}): object {
  return {
    ...{ apiVersion: "apps/v1", kind, metadata: { name: app, annotations } },
    spec: {
      ...{ replicas, selector: { matchLabels: { app } }, template: { metadata: { labels: { app } }, spec: podSpec(image, options) } },
      ...(kind === "StatefulSet" && { serviceName: app }),
    },
  };
}

async function podOf(app: string): Promise<KubernetesPod["metadata"]> {
  const [found] = await acting.clean(app, 1);
  if (!found) throw new Error("no pod");
  return found.metadata;
}

const podNameOf = ({ container }: ToldAction): string => container.name.split("/")[1] ?? "";

/** @returns the one of this kind in this state, once there is one */
async function actionOn(pod: string, kind: string, state: string, reason = ""): Promise<ToldAction> {
  const is = (each: ToldAction): boolean => each.kind === kind && each.state === state && (reason === "" || each.reason === reason);
  const found = (await acting.actionIs(pod, `${kind} ${state}`, is)).find(is);
  if (!found) throw new Error("no action");
  return found;
}

interface Status {
  readonly claims: readonly { readonly code: string; readonly detail: string }[];
}

const claim = async (code: string): Promise<string | undefined> => (await stack.json<Status>("status")).claims.find((each) => each.code === code)?.detail;
const held = (why: string) =>
  eventually(
    `held back: ${why}`,
    () => stack.json<{ held: Readonly<Record<string, number>> }>("action", "ls"),
    ({ held: now }) => now[why] === 1,
    WITHIN_MS,
  );

/** That nothing was done to it, however often the verifier was asked. */
async function expectUntouched({ name, uid }: KubernetesPod["metadata"]): Promise<void> {
  const app = name.slice(0, name.lastIndexOf("-", name.lastIndexOf("-") - 1));
  expect((await acting.podsOf(app)).map(({ metadata }) => [metadata.uid, metadata.deletionTimestamp])).toEqual([[uid, undefined]]);
  expect((await acting.events(uid)).map(({ reason }) => reason)).not.toContain("Evicting");
}

/** That it went once, and what took its place was left alone. */
async function expectEvictedOnce(app: string, { name, uid }: KubernetesPod["metadata"]): Promise<ToldAction> {
  const done = await actionOn(name, "evict", "done");
  expect((await podOf(app)).uid).not.toBe(uid);
  await acting.toldWithEntry(name, "Evicting", "Evicted");
  expect((await acting.events(uid)).filter(({ reason }) => reason === "Evicted")).toHaveLength(1);
  expect((await acting.told(`${app}-`)).filter(({ state }) => state !== "withdrawn").map(({ id }) => id)).toEqual([done.id]);
  return done;
}

async function restart(): Promise<void> {
  await stack.verifier.kill();
  await stack.verifier.start();
}

test("while actions are paused nothing is done, whether the verifier is killed or not, and it is told; when they go on the pod is evicted, once", {
  timeout: 600_000,
}, async () => {
  acting.logsOnFailure();
  await acting.apply(workload("held-paused"));
  const pod = await podOf("held-paused");
  expect(await stack.hullmark("action", "pause", "-m", "INC-1")).toMatchObject({ code: 0 });
  // Also where this fails: what comes next is acted on.
  onTestFinished(async () => void (await stack.hullmark("action", "resume", "-m", "INC-1 is over")));
  await acting.write(pod.name);
  await held("paused");
  await restart();
  await held("paused");
  expect(await claim("actions-paused")).toBe("by admin: INC-1");
  expect(await acting.told(pod.name)).toEqual([]);
  await expectUntouched(pod);
  expect(await stack.hullmark("action", "resume", "-m", "INC-1 is over")).toMatchObject({ code: 0 });
  await expectEvictedOnce("held-paused", pod);
  expect(await claim("actions-paused")).toBeUndefined();
  const noted = (await logEntries(stack)).filter(({ type }) => type === "admin").map(({ action }) => action);
  expect(noted.filter((action) => action === "actions-paused" || action === "actions-resumed")).toEqual(["actions-paused", "actions-resumed"]);
});

test("in a freeze nothing is done, whether the verifier is killed or not, and it is told; when it ends the pod is evicted, once", {
  timeout: 600_000,
}, async () => {
  acting.logsOnFailure();
  await acting.apply(workload("held-frozen"));
  const pod = await podOf("held-frozen");
  const time = (ms: number): string => new Date(ms).toISOString();
  const freeze = (untilMs: number): string => `    pause: 1m\n    freezes: [{ reason: sale, from: ${time(Date.now() - HOUR_MS)}, until: ${time(untilMs)} }]\n`;
  const frozen = freeze(Date.now() + HOUR_MS);
  await acting.underPolicy("frozen", [["    pause: 1m\n", frozen]], async () => {
    await acting.write(pod.name);
    await held("frozen");
    await restart();
    await held("frozen");
    expect(await claim("actions-frozen")).toMatch(/^until .*: sale$/);
    expect(await acting.told(pod.name)).toEqual([]);
    await expectUntouched(pod);
    const untilMs = Date.now() + 15_000;
    await acting.underPolicy("ending", [[frozen, freeze(untilMs)]], async () => {
      const { createdAt } = await expectEvictedOnce("held-frozen", pod);
      expect(Date.parse(createdAt)).toBeGreaterThanOrEqual(untilMs);
      expect(await claim("actions-frozen")).toBeUndefined();
    });
  });
});

test("two people must say yes before a pod is evicted, killed verifier or not: the same one twice does not count, nor does one who may not", {
  timeout: 600_000,
}, async () => {
  acting.logsOnFailure();
  const person = async (name: string, role: string) => {
    const directory = join(home, name);
    expect(await stack.hullmark("person", "add", name, "--role", role, "--dir", directory)).toMatchObject({ code: 0 });
    return (...args: string[]) => stack.hullmark("--config", join(directory, "config.yaml"), ...args);
  };
  const [eva, bob] = [await person("eva", "approver"), await person("bob", "responder")];
  await acting.apply(workload("asked"));
  const pod = await podOf("asked");
  await acting.write(pod.name);
  const { id } = await actionOn(pod.name, "evict", "awaiting");
  expect((await bob("action", "approve", id)).code).not.toBe(0);
  expect(await eva("action", "approve", id)).toMatchObject({ code: 0 });
  await restart();
  expect(await eva("action", "approve", id)).toMatchObject({ code: 3, stderr: expect.stringContaining("you have approved it already") });
  expect(await stack.json("action", "show", id)).toMatchObject({ state: "awaiting", approvals: { needed: 2, given: [{ by: "eva" }] } });
  await expectUntouched(pod);
  expect(await stack.hullmark("action", "approve", id)).toMatchObject({ code: 0 });
  expect(await expectEvictedOnce("asked", pod)).toMatchObject({ id });
  const approved = async () => (await logEntries(stack)).filter((each) => each.type === "action" && each["id"] === id);
  const told = await eventually("the log tells", approved, (entries) => entries.some(({ state }) => state === "done"), WITHIN_MS);
  expect(told.at(-1)).toMatchObject({ approvals: ["eva", "admin"] });
});

test("a release, and an isolation, that the API server does not let the actuator do are told on the pod with their entry of the log; let, the pod is released", {
  timeout: 600_000,
}, async () => {
  acting.logsOnFailure();
  const role = (rules: readonly object[]): object => ({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name: "actuator" },
    rules,
  });
  const labels = (): Promise<boolean> =>
    acting.kubectl("auth", "can-i", "patch", "pods", "--as=system:serviceaccount:default:actuator", "--quiet").then(
      () => true,
      () => false,
    );
  const may = async (whole: boolean): Promise<void> => {
    const isLabelling = ({ resources, verbs }: { resources?: string[]; verbs?: string[] }) => resources?.includes("pods") && verbs?.includes("patch");
    await acting.apply(role(rights().filter((rule) => whole || !isLabelling(rule))));
    await eventually("it is in force", labels, (may) => may === whole, WITHIN_MS);
  };
  await acting.apply(workload("wrong-isolated", first.tagged, { replicas: 2 }));
  const [one] = await acting.clean("wrong-isolated", 2);
  const { name } = one?.metadata ?? { name: "" };
  await acting.write(name);
  const isolation = await actionOn(name, "isolate", "done");
  onTestFinished(() => may(true));
  await may(false);
  expect(await stack.hullmark("action", "undo", isolation.id, "-m", "a test of ours")).toMatchObject({ code: 0 });
  const failed = await actionOn(name, "release", "failed", "engine");
  expect(await acting.toldWithEntry(name, "ReleaseFailed")).toEqual([failed.id]);
  expect(await acting.kubectl("get", "pod", name, "--output=jsonpath={.metadata.labels.hullmark\\.dev/isolated}")).toBe(isolation.id);
  const [other] = (await acting.podsOf("wrong-isolated")).filter(({ metadata }) => metadata.name !== name);
  await acting.write(other?.metadata.name ?? "");
  const unisolated = await actionOn(other?.metadata.name ?? "", "isolate", "failed", "engine");
  expect(await acting.toldWithEntry(other?.metadata.name ?? "", "IsolationFailed")).toEqual([unisolated.id]);
  await may(true);
  expect(await stack.hullmark("action", "undo", isolation.id, "-m", "once more")).toMatchObject({ code: 0 });
  const released = await actionOn(name, "release", "done");
  expect(await acting.toldWithEntry(name, "Released")).toEqual([released.id]);
  await acting.kubectl("delete", "deployment/wrong-isolated", "--wait=false");
});

test("a rollback during which somebody rolls out something else fails, and is told on the pod with its entry of the log; what was rolled out stays", {
  timeout: 600_000,
}, async () => {
  acting.logsOnFailure();
  await acting.apply(workload("wrong-back"));
  await podOf("wrong-back");
  // No rollout ends meanwhile.
  await acting.kubectl("patch", "deployment/wrong-back", '--patch={"spec":{"minReadySeconds":300}}');
  const rollOut = (image: string) => acting.kubectl("set", "image", "deployment/wrong-back", `web=${image}`);
  await rollOut(stranger.tagged);
  const begun = await actionOn("wrong-back-", "rollback", "issued", "rolling-out");
  await rollOut(second.tagged);
  const failed = await actionOn("wrong-back-", "rollback", "failed", "other-rollout");
  expect(failed.id).toBe(begun.id);
  expect(await acting.toldWithEntry(podNameOf(failed), "RollingBack", "RollbackFailed")).toEqual([failed.id, failed.id]);
  expect(await acting.kubectl("get", "deployment/wrong-back", "--output=jsonpath={.spec.template.spec.containers[0].image}")).toBe(second.tagged);
  await acting.kubectl("delete", "deployment/wrong-back", "--wait=false");
});

test("a halt that whoever deploys forbids, and one during which somebody scales up, are told on the pod with their entry of the log; both run on", {
  timeout: 600_000,
}, async () => {
  acting.logsOnFailure();
  await acting.apply(workload("wrong-halt-never", stranger.tagged, { annotations: { "hullmark.dev/halt": "never" } }));
  const refused = await actionOn("wrong-halt-never-", "halt", "refused", "halt-never");
  expect(await acting.toldWithEntry(podNameOf(refused), "HaltRefused")).toEqual([refused.id]);
  // Its pods end one after the other: the second is there while the first takes its time.
  const options = { container: { lifecycle: { preStop: { sleep: { seconds: 60 } } } }, spec: { terminationGracePeriodSeconds: 90 } };
  await acting.apply(workload("wrong-halted", stranger.tagged, { kind: "StatefulSet", replicas: 2, options }));
  const begun = await actionOn("wrong-halted-", "halt", "issued", "rolling-out");
  await acting.kubectl("scale", "statefulset/wrong-halted", "--replicas=2");
  const failed = await actionOn("wrong-halted-", "halt", "failed", "other-rollout");
  expect(failed.id).toBe(begun.id);
  expect(await acting.toldWithEntry(podNameOf(failed), "Halting", "HaltFailed")).toEqual([failed.id, failed.id]);
  for (const [app, replicas] of [
    ["deployment/wrong-halt-never", "1"],
    ["statefulset/wrong-halted", "2"],
  ] as const)
    expect(await acting.kubectl("get", app, "--output=jsonpath={.spec.replicas}")).toBe(replicas);
  await acting.kubectl("delete", "deployment/wrong-halt-never", "statefulset/wrong-halted", "--wait=false");
});
