/** A malicious verifier against what makes pods: what it cannot have rolled back, nor to what. And rollouts that take their time, and crashes at every step. */
import { generateKeyPairSync, randomUUID, sign, verify } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { FileLedger } from "@hullmark/actuator/adapters/file-ledger/file-ledger";
import { KubernetesRollouts } from "@hullmark/actuator/adapters/kubernetes/kubernetes-rollouts";
import { Actuator } from "@hullmark/actuator/core/actuator";
import { type ActuatorFailpoint, ROLLOUT_FAILPOINTS } from "@hullmark/actuator/core/carry-out";
import { pinned } from "@hullmark/actuator/core/check-rollout";
import { ClusterHands } from "@hullmark/actuator/core/cluster-hands";
import { BEGINNING_MS, ROLLOUT_MS } from "@hullmark/actuator/core/rollout-hands";
import type { ClusterPod } from "@hullmark/actuator/ports/cluster";
import { EngineError } from "@hullmark/actuator/ports/engine";
import type { PodTemplate, Workload } from "@hullmark/actuator/ports/rollouts";
import type { ApiAnswer } from "@hullmark/daemon/api-server";
import { intentMessage } from "@hullmark/proto/codec";
import { ActionKind, IntentSchema, Outcome, PodOwnerSchema } from "@hullmark/proto/v1/response";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeCluster, FakeFence, FakeRollouts } from "../fakes/cluster.ts";
import { type AddedPod, IDENTITY, type IntentInit, LIFE_MS, podIntent } from "../fakes/pod-intent.ts";

const T0 = 1_700_000_000_000;
const LIMITS = { pauseMs: 600_000, hourlyPercent: 100, protect: ["shop/db*"] };
const keys = generateKeyPairSync("ed25519");
const digest = (n: number): string => `sha256:${String(n).repeat(64)}`;

let directory: string;
let ledger: FileLedger;
let cluster: FakeCluster;
let rollouts: FakeRollouts;
let nowMs: number;
let reports: { outcome: Outcome; reason: string; detail: string }[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-rollout-actuator-"));
  nowMs = T0;
  ledger = new FileLedger(directory, nowMs);
  cluster = new FakeCluster();
  rollouts = new FakeRollouts("r.example:5000/web:1", "r.example:5000/web:2", "r.example:5000/web:3");
  reports = [];
});
afterEach(() => {
  ledger.close();
  rmSync(directory, { recursive: true });
});

function actuator(passing: (point: ActuatorFailpoint) => void = () => {}, { mayHalt = true, limits = LIMITS } = {}): Actuator {
  return new Actuator({
    hands: new ClusterHands({ cluster, ledger, fence: new FakeFence(cluster), rollouts, limits, ownNamespace: "hullmark", mayHalt, onUntold: () => {} }),
    ...{ identity: IDENTITY, ledger },
    verify: (message, signature) => verify(null, message, keys.publicKey, signature),
    report: async (_id, { outcome, reason, detail }) => void reports.push({ outcome, reason, detail }),
    nowMs: () => nowMs,
    passing,
    told: () => {},
  });
}

/** Afresh from what the ledger holds. */
function restarted(passing?: (point: ActuatorFailpoint) => void): Actuator {
  ledger.close();
  ledger = new FileLedger(directory, nowMs);
  return actuator(passing);
}

const add = (more: Partial<ClusterPod> = {}, name = "web-x1", namespace = "shop"): AddedPod =>
  cluster.add(name, { owner: "Deployment/web", controllerUid: rollouts.owner.uid, ...more }, namespace);
const revision = (n: number, image = digest(n)) => ({ name: `web-${n}`, images: [{ container: "web", digest: image }] });

/** @param owner false: it names none */
function intent(pod: AddedPod, more: IntentInit = {}, owner = true) {
  const revisions = [revision(7), revision(8)].map((each, i) => ({ ...each, name: `web-${i + 1}` }));
  const message = create(IntentSchema, podIntent(pod, ActionKind.ROLLBACK, nowMs, { ...{ revisions }, ...more }));
  if (owner) message.podOwner ??= create(PodOwnerSchema, rollouts.owner);
  const body = toBinary(IntentSchema, message);
  return { body, signatures: [sign(null, intentMessage(body), keys.privateKey)] };
}

const outcomes = () => reports.map(({ outcome, reason }) => (reason ? `${Outcome[outcome]} ${reason}` : Outcome[outcome]));

test("back to the newest revision that is verified, by the digest that was verified, and told when all of it is there", async () => {
  const subject = actuator();
  await subject.offer(intent(add()));
  expect(rollouts.applied).toEqual([`r.example:5000/web@${digest(8)}`]);
  await subject.resume();
  expect(outcomes()).toEqual(["WAITING rolling-out"]);
  rollouts.change({ progress: { state: "done" } });
  await subject.resume();
  await subject.resume();
  expect(outcomes()).toEqual(["WAITING rolling-out", "DONE"]);
  expect(reports.at(-1)?.detail).toBe("Deployment web back to web-2");
  expect(rollouts.applied).toHaveLength(1);
  expect(cluster.events.map(({ reason, note }) => `${reason}: ${note}`)).toEqual([
    "RollingBack: web-x1 is of an image that is not trusted: Deployment web back to web-2 (A-7K2Q, D-7K2Q)",
    "RolledBack: web-x1 ran an image that is not trusted: Deployment web back to web-2 (A-7K2Q, D-7K2Q)",
  ]);
  expect(rollouts.workload).toMatchObject({ replicas: 3 });
  // Its pods are one service: not again at once.
  await subject.offer(intent(add({}, "web-x2")));
  expect(outcomes().at(-1)).toMatch(/^REFUSED/);
  expect(rollouts.applied).toHaveLength(1);
});

test("back to the very revision, by its digest, where its tag was moved since it was verified", async () => {
  const revisions = [1, 2, 3].map((n) => revision(n, digest(n + 4)));
  await actuator().offer(intent(add(), { revisions }));
  expect(rollouts.applied).toEqual([`r.example:5000/web@${digest(7)}`]);
  rollouts.change({ progress: { state: "done" } });
  await actuator().resume();
  expect(outcomes().at(-1)).toBe("DONE");
});

test("and to the one before it where the present one is by that digest already", async () => {
  const template = FakeRollouts.template(`r.example:5000/web@${digest(7)}`);
  const present = rollouts.revisions.get("web-3");
  if (present) rollouts.revisions.set("web-3", { ...present, template });
  rollouts.change({ template });
  const image = `r.example:5000/web@${digest(7)}`;
  const pod = { ...add({ containers: [{ name: "web", id: "c".repeat(64), imageDigest: digest(1), image, running: true }] }), containerId: "c".repeat(64) };
  await actuator().offer(intent(pod, { revisions: [revision(2, digest(6)), revision(3, digest(7))] }));
  expect(rollouts.applied).toEqual([`r.example:5000/web@${digest(6)}`]);
});

test.each(["apply", "halt", "pause"] as const)("%s that was carried out and not answered is not done again", async (method) => {
  if (method === "pause") rollouts.change({ annotations: { "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web" } });
  rollouts.unheard.add(method);
  const [subject, pod] = [actuator(), add()];
  const more = method === "halt" ? { kind: ActionKind.HALT, revisions: [] } : {};
  await expect(subject.offer(intent(pod, { ...more, owners: ["argocd"] }))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
  // The intent may have ended by now.
  if (method !== "pause") nowMs += 20 * 60_000;
  await subject.resume();
  rollouts.change({ present: 0, progress: { state: "done" } });
  await subject.resume();
  expect(outcomes()).toEqual(["WAITING rolling-out", "DONE"]);
  expect(rollouts.applied).toHaveLength(1);
  expect(rollouts.paused.size).toBe(method === "pause" ? 1 : 0);
});

describe("what it cannot be made to do", () => {
  test.each<[string, (pod: AddedPod) => ReturnType<typeof intent>, string | undefined]>([
    ["no revision at all", (pod) => intent(pod, { revisions: [] }), undefined],
    ["a revision twice", (pod) => intent(pod, { revisions: [revision(1), revision(1, digest(5))] }), undefined],
    ["a container twice", (pod) => intent(pod, { revisions: [{ name: "web-1", images: [...revision(1).images, ...revision(2).images] }] }), undefined],
    ["a revision without images", (pod) => intent(pod, { revisions: [{ name: "web-1", images: [] }] }), undefined],
    ["an image by its tag", (pod) => intent(pod, { revisions: [revision(1, "web:1")] }), undefined],
    ["another path than a revision's", (pod) => intent(pod, { revisions: [{ ...revision(1), name: "../pods/x" }] }), undefined],
    [
      "more revisions than it takes",
      (pod) => intent(pod, { revisions: Array.from({ length: 9 }, (_, i) => ({ ...revision(1), name: `web-${i}` })) }),
      undefined,
    ],
    ["no owner", (pod) => intent(pod, {}, false), undefined],
    ["another kind of owner", (pod) => intent(pod, { podOwner: { ...rollouts.owner, kind: "Node" } }), undefined],
    ["another owner than the pod's", (pod) => intent(pod, { podOwner: { ...rollouts.owner, uid: randomUUID() } }), "other-owner"],
    ["an eviction with a revision", (pod) => intent(pod, { kind: ActionKind.EVICT }), undefined],
    ["a host's rollback", (pod) => intent(pod, { targetConfigDigest: digest(4), targetReference: `r.example/web@${digest(4)}` }), undefined],
    ["another pod under that name", (pod) => intent(pod, { podUid: randomUUID() }), "other-pod"],
    ["another image than runs", (pod) => intent(pod, { podImageDigests: [digest(6)] }), "other-image"],
    ["a revision that is not there", (pod) => intent(pod, { revisions: [{ ...revision(1), name: "web-0" }] }), "no-earlier-revision"],
    ["the present revision as it is", (pod) => intent(pod, { revisions: [revision(3, digest(1))] }), "no-earlier-revision"],
    [
      "an earlier one of the present image",
      (pod) => intent(pod, { revisions: [{ name: "web-2", images: [{ container: "web", digest: digest(1) }] }] }),
      "no-earlier-revision",
    ],
    [
      "a container that is not there",
      (pod) => intent(pod, { revisions: [{ name: "web-2", images: [{ container: "side", digest: digest(5) }] }] }),
      "no-earlier-revision",
    ],
  ])("%s", async (_name, make, reason) => {
    await actuator().offer(make(add()));
    expect(rollouts.applied).toEqual([]);
    expect(outcomes()).toEqual(reason === undefined ? [] : [`REFUSED ${reason}`]);
  });

  test.each<[string, Partial<Workload>, string]>([
    ["one that its annotation forbids", { annotations: { "hullmark.dev/rollback": "never" } }, "rollback-never"],
    ["one that its label forbids", { labels: { "hullmark.dev/rollback": "never" } }, "rollback-never"],
    ["one that something else makes", { controller: "Rollout/web" }, "owned-by-controller"],
    ["one of Argo CD, by annotation", { annotations: { "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web" } }, "owned-by-argocd"],
    ["one of Argo CD, by label", { labels: { "argocd.argoproj.io/instance": "shop" } }, "owned-by-argocd"],
    ["one of Argo CD, by who wrote it", { labels: { "app.kubernetes.io/instance": "shop" }, managers: ["argocd-controller"] }, "owned-by-argocd"],
    ["one of Flux", { labels: { "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux" } }, "owned-by-flux"],
    ["one of Flux, by Helm", { labels: { "helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": "shop" } }, "owned-by-flux"],
    ["one that is paused", { paused: true }, "paused-rollout"],
    ["one that wants no pods", { replicas: 0 }, "no-replicas"],
    ["one that replaces no pods by itself", { byHand: true }, "on-delete"],
    ["one that something else is rolled out of since", { template: FakeRollouts.template("r.example:5000/web:4") }, "other-rollout"],
  ])("%s", async (_name, change, reason) => {
    rollouts.change(change);
    await actuator().offer(intent(add()));
    expect(rollouts.applied).toEqual([]);
    expect(outcomes()).toEqual([`REFUSED ${reason}`]);
    expect(cluster.events).toMatchObject([{ reason: "RollbackRefused", warning: true }]);
  });

  const containers = (more: Partial<ClusterPod["containers"][number]>) => ({
    containers: [{ name: "web", id: "c".repeat(64), imageDigest: digest(1), image: FakeCluster.image, running: true, ...more }],
  });

  test.each<[string, Partial<ClusterPod["containers"][number]>]>([
    ["a pod that somebody made as if it were its own, of another image", { image: "evil.example/web:3" }],
    ["a container that its template has not: what puts it in would do so again", { name: "side", image: FakeCluster.image }],
    ["a container of which the pod's specification says nothing", { image: "" }],
  ])("a workload by the word of %s", async (_name, more) => {
    const pod = { ...add(containers(more)), containerId: "c".repeat(64) };
    const revisions = [{ name: "web-1", images: [...revision(1, digest(7)).images, { container: "side", digest: digest(6) }] }];
    const named = { podContainer: more.name ?? "web", revisions };
    await actuator().offer(intent(pod, named));
    nowMs += LIMITS.pauseMs;
    await actuator().offer(intent(pod, { ...named, kind: ActionKind.HALT, revisions: [] }));
    expect([rollouts.applied, outcomes()]).toEqual([[], ["REFUSED not-of-template", "REFUSED not-of-template"]]);
  });

  test("a label of Helm's is nobody's word for Argo CD", async () => {
    rollouts.change({ labels: { "app.kubernetes.io/instance": "shop", "app.kubernetes.io/managed-by": "Helm" }, managers: ["helm"] });
    await actuator().offer(intent(add()));
    expect(rollouts.applied).toHaveLength(1);
  });

  test("whoever applies it from a repository is named", async () => {
    rollouts.change({ annotations: { "argocd.argoproj.io/tracking-id": "team-a_shop:apps/Deployment:shop/web" } });
    await actuator().offer(intent(add()));
    expect(reports[0]?.detail).toBe("Deployment web is applied by Argo CD Application team-a/shop: revert there what brought the image");
  });

  test("and from where, as far as it tells", async () => {
    rollouts.change({ labels: { "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux" } });
    rollouts.sources.set("apps", "https://git.example/shop, ./deploy, at main@sha1:3f2a");
    await actuator().offer(intent(add(), { owners: ["argocd"] }));
    expect(reports[0]?.detail).toBe(
      "Deployment web is applied by Flux Kustomization flux/apps: revert there what brought the image (https://git.example/shop, ./deploy, at main@sha1:3f2a)",
    );
    expect(rollouts.paused.size).toBe(0);
  });

  test.each<[string, Partial<ClusterPod>, string, string]>([
    ["a workload of the system", {}, "kube-system", "protected"],
    ["one of its own namespace", {}, "hullmark", "protected"],
    ["a protected service", { owner: "Deployment/db-1" }, "shop", "protected"],
    ["one whose pods forbid it", { labels: { "hullmark.dev/rollback": "never" } }, "shop", "rollback-never"],
    ["a pod that ends already", { endsMs: T0 }, "shop", "terminating"],
  ])("%s", async (_name, pod, namespace, reason) => {
    await actuator().offer(intent(add(pod, "web-x1", namespace)));
    expect(rollouts.applied).toEqual([]);
    expect(outcomes()).toEqual([`REFUSED ${reason}`]);
  });

  test("a pod that may not be evicted may be of a workload that is rolled back", async () => {
    await actuator().offer(intent(add({ labels: { "hullmark.dev/evict": "never" } })));
    expect(rollouts.applied).toHaveLength(1);
  });

  test("revisions of another workload of that name", async () => {
    for (const each of ["web-1", "web-2"]) {
      const found = rollouts.revisions.get(each);
      if (found) rollouts.revisions.set(each, { ...found, ownerUid: randomUUID() });
    }
    await actuator().offer(intent(add()));
    expect(outcomes()).toEqual(["REFUSED no-earlier-revision"]);
  });
});

describe("what is applied from a repository, where policy says so", () => {
  const argo = { annotations: { "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web" } };

  test("is rolled back, and what applies it is paused before that", async () => {
    rollouts.change(argo);
    const subject = actuator();
    await subject.offer(intent(add(), { owners: ["argocd"] }));
    expect([[...rollouts.paused], rollouts.applied]).toEqual([["Application argocd/shop"], [`r.example:5000/web@${digest(8)}`]]);
    rollouts.change({ progress: { state: "done" } });
    await subject.resume();
    expect(reports.at(-1)).toMatchObject({
      outcome: Outcome.DONE,
      detail: expect.stringContaining("Argo CD Application argocd/shop applies nothing by itself"),
    });
  });

  test.each([
    ["once more where what applies it was at it when it was paused", { undone: 1, afterMs: 0 }, 2, "DONE"],
    ["no third time", { undone: 2, afterMs: 0 }, 2, "FAILED other-rollout"],
    ["not once more when the intent is over", { undone: 1, afterMs: LIFE_MS }, 1, "FAILED other-rollout"],
  ] as const)("is put in %s", async (_name, { undone, afterMs }, times, outcome) => {
    rollouts.change(argo);
    const subject = actuator();
    await subject.offer(intent(add(), { owners: ["argocd"] }));
    nowMs += afterMs;
    for (let i = 0; i < undone; i++) {
      rollouts.change({ template: FakeRollouts.template("r.example:5000/web:3") });
      await subject.resume();
    }
    rollouts.change({ progress: { state: "done" } });
    await subject.resume();
    expect(rollouts.applied).toHaveLength(times);
    expect(outcomes().at(-1)).toBe(outcome);
  });

  test("is told of where it is not rolled back then, and stays paused", async () => {
    rollouts.change(argo);
    rollouts.failures.set("apply", new EngineError("ENGINE_REFUSED", "the API server answers 422"));
    await actuator().offer(intent(add(), { owners: ["argocd"] }));
    expect(reports.at(-1)?.detail).toMatch(/answers 422; Argo CD Application argocd\/shop applies nothing by itself until somebody has it do so again/);
    nowMs += LIMITS.pauseMs;
    rollouts.failures.set("apply", new EngineError("ENGINE_UNREACHABLE", "409"));
    const [subject, signed] = [actuator(), intent(add({}, "web-x2"), { owners: ["argocd"] })];
    await expect(subject.offer(signed)).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    rollouts.change({ template: FakeRollouts.template("r.example:5000/web:4") });
    await subject.resume();
    expect(reports.at(-1)).toMatchObject({ outcome: Outcome.REFUSED, reason: "other-rollout", detail: expect.stringContaining("look whether Argo CD") });
    rollouts.change({ template: FakeRollouts.template("r.example:5000/web:3") });
    nowMs += LIMITS.pauseMs;
    rollouts.failures.set("apply", new EngineError("ENGINE_UNREACHABLE", "503"));
    await expect(subject.offer(intent(add({}, "web-x3"), { owners: ["argocd"] }))).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    nowMs += LIFE_MS;
    await subject.resume();
    expect(reports.at(-1)).toMatchObject({ outcome: Outcome.FAILED, reason: "expired", detail: expect.stringContaining("look whether Argo CD") });
  });

  test("is left where that cannot be paused", async () => {
    rollouts.change(argo);
    rollouts.failures.set("pause", new EngineError("ENGINE_REFUSED", "the API server answers 403"));
    await actuator().offer(intent(add(), { owners: ["argocd"] }));
    expect(reports.at(-1)).toMatchObject({ outcome: Outcome.FAILED, reason: "engine", detail: "ENGINE_REFUSED: the API server answers 403" });
    expect(rollouts.applied).toEqual([]);
  });
});

describe("a template by its verified digests", () => {
  const template = (...images: readonly string[]): PodTemplate => ({ spec: { containers: images.map((image, i) => ({ name: `c${i}`, image })) } });
  const verified = (...digests: readonly string[]) => ({ name: "r", images: digests.map((each, i) => ({ container: `c${i}`, digest: each })) });
  const images = (found: PodTemplate | undefined) => found?.spec.containers.map(({ image }) => image);

  test.each<[string, PodTemplate, ReturnType<typeof verified>, PodTemplate, readonly string[] | undefined]>([
    ["a tag gives way", template("web:1"), verified(digest(1)), template("web:2"), [`web@${digest(1)}`]],
    ["a port is no tag", template("r:5000/web"), verified(digest(1)), template("web:2"), [`r:5000/web@${digest(1)}`]],
    ["a digest stays", template(`web:1@${digest(1)}`), verified(digest(1)), template("web:2"), [`web@${digest(1)}`]],
    ["another digest is another image", template(`web@${digest(2)}`), verified(digest(1)), template("web:2"), undefined],
    ["what is there anyway may stay", template("web:1", "side:1"), verified(digest(1)), template("web:2", "side:1"), [`web@${digest(1)}`, "side:1"]],
    ["nothing comes of which nothing is said", template("web:1", "side:1"), verified(digest(1)), template("web:2", "side:2"), undefined],
  ])("%s", (_name, earlier, by, now, expected) => expect(images(pinned(earlier, by, now))).toEqual(expected));

  test("an init container is one too", () => {
    const earlier: PodTemplate = { spec: { ...template("web:1").spec, initContainers: [{ name: "c1", image: "init:1" }] } };
    expect(pinned(earlier, verified(digest(1)), template("web:2"))).toBeUndefined();
    expect(pinned(earlier, verified(digest(1), digest(2)), template("web:2"))?.spec.initContainers).toEqual([{ name: "c1", image: `init@${digest(2)}` }]);
  });
});

describe("a rollout that is begun", () => {
  const begun = async (): Promise<Actuator> => {
    const subject = actuator();
    await subject.offer(intent(add()));
    // The pod gives way.
    cluster.pods.clear();
    await subject.resume();
    return subject;
  };

  test("that its controller gives up is told as failed, with its words", async () => {
    const subject = await begun();
    nowMs += BEGINNING_MS + 1;
    rollouts.change({ progress: { state: "stuck", why: "ReplicaSet has timed out progressing" } });
    await subject.resume();
    expect(reports.at(-1)).toEqual({ outcome: Outcome.FAILED, reason: "not-progressing", detail: "ReplicaSet has timed out progressing" });
    expect(cluster.events.at(-1)).toMatchObject({ reason: "RollbackFailed", warning: true });
  });

  test("is not given up for what is still said of the one before", async () => {
    const subject = actuator();
    await subject.offer(intent(add()));
    rollouts.change({ progress: { state: "stuck", why: "the bad image's" } });
    nowMs += BEGINNING_MS;
    await subject.resume();
    rollouts.change({ progress: { state: "done" } });
    await subject.resume();
    expect(outcomes()).toEqual(["WAITING rolling-out", "DONE"]);
  });

  test("is not done by an annotation alone: whoever writes the workload can write that", async () => {
    const [signed, id] = [intent(add(), { id: Buffer.alloc(16, 0xab) }), "ab".repeat(16)];
    rollouts.change({ annotations: { "hullmark.dev/rolled-back": `${id}/web-2` } });
    await actuator().offer(signed);
    nowMs += LIMITS.pauseMs;
    rollouts.change({ annotations: { "hullmark.dev/rolled-back": `${"cd".repeat(16)}/x` } });
    await actuator().offer(intent(add({}, "web-x2"), { id: Buffer.alloc(16, 0xcd) }));
    expect([rollouts.applied, outcomes()]).toEqual([[], ["FAILED other-rollout", "FAILED other-rollout"]]);
  });

  test("is not waited for for ever", async () => {
    await begun();
    nowMs += ROLLOUT_MS;
    const subject = restarted();
    await subject.resume();
    nowMs += 1;
    await subject.resume();
    expect(outcomes().filter((each) => !each.startsWith("WAITING"))).toEqual(["FAILED not-progressing"]);
  });

  test("and gives way to another one of somebody else's: that is not done", async () => {
    const subject = await begun();
    rollouts.change({ template: FakeRollouts.template("r.example:5000/web:4"), progress: { state: "done" } });
    await subject.resume();
    expect(outcomes().at(-1)).toBe("FAILED other-rollout");
  });

  test("and whose workload is deleted is told", async () => {
    const subject = await begun();
    rollouts.workload = undefined;
    await subject.resume();
    expect(outcomes().at(-1)).toMatch(/^(REFUSED|FAILED)/);
    expect(rollouts.applied).toHaveLength(1);
  });
});

describe("a halt", () => {
  const halt = (pod: AddedPod, more: IntentInit = {}) => intent(pod, { kind: ActionKind.HALT, revisions: [], ...more });

  test("scales it to none, notes how many there were, and is done when none is there", async () => {
    const subject = actuator();
    await subject.offer(halt(add()));
    expect([rollouts.applied, rollouts.workload?.replicas]).toEqual([["none"], 0]);
    expect(rollouts.workload?.annotations["hullmark.dev/halted"]).toMatch(/^[0-9a-f]{32}\/3$/);
    cluster.pods.clear();
    await subject.resume();
    rollouts.change({ present: 0 });
    await subject.resume();
    expect(outcomes()).toEqual(["WAITING rolling-out", "DONE"]);
    expect(reports.at(-1)?.detail).toBe("Deployment web to no pods");
    expect(cluster.events.map(({ reason }) => reason)).toEqual(["Halting", "Halted"]);
  });

  test.each<[string, Partial<Workload>, string]>([
    ["one that its annotation forbids", { annotations: { "hullmark.dev/halt": "never" } }, "halt-never"],
    ["a DaemonSet", { kind: "DaemonSet" }, "not-scalable"],
    ["one of Flux", { labels: { "kustomize.toolkit.fluxcd.io/name": "apps" } }, "owned-by-flux"],
    ["one that something else makes", { controller: "Rollout/web" }, "owned-by-controller"],
    ["one that wants no pods", { replicas: 0 }, "no-replicas"],
    ["one that something else is rolled out of since", { template: FakeRollouts.template("r.example:5000/web:4") }, "other-rollout"],
  ])("leaves %s", async (_name, change, reason) => {
    rollouts.change(change);
    await actuator().offer(halt(add()));
    expect([rollouts.applied, outcomes()]).toEqual([[], [`REFUSED ${reason}`]]);
    expect(cluster.events).toMatchObject([{ reason: "HaltRefused", warning: true }]);
  });

  test("is for the actuator's own configuration to allow, whatever the verifier signs", async () => {
    await actuator(undefined, { mayHalt: false }).offer(halt(add()));
    expect([rollouts.applied, outcomes()]).toEqual([[], ["REFUSED halt-not-allowed"]]);
    expect(cluster.events).toMatchObject([{ reason: "HaltRefused", warning: true }]);
  });

  test("counts as many pods as it takes away, after a restart too", async () => {
    for (let i = 0; i < 100; i++) cluster.add(`other-${i}`);
    const options = { limits: { ...LIMITS, hourlyPercent: 5 } };
    rollouts.change({ replicas: 50, present: 50 });
    await actuator(undefined, options).offer(intent(cluster.add("db-x1", { owner: "Deployment/api" }), { kind: ActionKind.EVICT, revisions: [] }, false));
    await actuator(undefined, options).offer(halt(add()));
    expect(outcomes().at(-1)).toBe("REFUSED breaker");
    nowMs += 3_600_000;
    await actuator(undefined, options).offer(halt(add()));
    expect(rollouts.applied).toEqual(["none"]);
    ledger.close();
    ledger = new FileLedger(directory, nowMs);
    await actuator(undefined, options).offer(intent(cluster.add("api-x2", { owner: "Deployment/api" }), { kind: ActionKind.EVICT, revisions: [] }, false));
    expect(outcomes().at(-1)).toBe("REFUSED breaker");
  });

  test("is never what a rollback comes to, nor the other way round", async () => {
    await actuator().offer(intent(add(), { revisions: [] }));
    await actuator().offer(halt(add({}, "web-x2"), { revisions: [revision(1)] }));
    expect([rollouts.applied, outcomes()]).toEqual([[], []]);
  });

  test("that somebody takes back meanwhile is not done, and is not done again", async () => {
    const subject = actuator();
    await subject.offer(halt(add()));
    rollouts.change({ replicas: 3 });
    await subject.resume();
    await subject.resume();
    expect(outcomes().at(-1)).toBe("FAILED other-rollout");
    expect(rollouts.applied).toEqual(["none"]);
  });

  test.each(ROLLOUT_FAILPOINTS)("killed at %s: once, and told", async (point) => {
    const signed = halt(add());
    const dying = actuator((at) => {
      if (at === point) throw new Error("killed");
    });
    const gone = (): void => void (rollouts.workload?.replicas === 0 && rollouts.change({ present: 0 }));
    await expect(
      (async () => {
        await dying.offer(signed);
        gone();
        for (let round = 0; round < 3; round++) await dying.resume();
      })(),
    ).rejects.toThrow("killed");
    const next = restarted();
    await next.resume();
    await next.offer(signed);
    gone();
    await next.resume();
    expect(rollouts.applied).toEqual(["none"]);
    expect(outcomes().at(-1)).toBe("DONE");
  });
});

test("a change in between is looked at anew, and nothing is put over it", async () => {
  const [subject, signed] = [actuator(), intent(add())];
  rollouts.failures.set("apply", new EngineError("ENGINE_UNREACHABLE", "409"));
  await expect(subject.offer(signed)).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
  rollouts.change({ template: FakeRollouts.template("r.example:5000/web:4") });
  await subject.resume();
  expect(outcomes()).toEqual(["REFUSED other-rollout"]);
  expect(rollouts.applied).toEqual([]);
});

test("without the right to it nothing is done, and other intents go on", async () => {
  rollouts.failures.set("find", new EngineError("ENGINE_REFUSED", "the API server answers 403"));
  const subject = actuator();
  await subject.offer(intent(add()));
  expect(reports).toEqual([{ outcome: Outcome.REFUSED, reason: "no-right", detail: "ENGINE_REFUSED: the API server answers 403" }]);
  await subject.offer(intent(add({}, "web-x2"), { kind: ActionKind.EVICT, revisions: [] }, false));
  expect(cluster.evicted).toEqual(["shop/web-x2"]);
});

test.each(ROLLOUT_FAILPOINTS)("killed at %s: rolled back once, and told", async (point) => {
  const signed = intent(add());
  const dying = actuator((at) => {
    if (at === point) throw new Error("killed");
  });
  await expect(
    (async () => {
      await dying.offer(signed);
      rollouts.change({ progress: { state: "done" } });
      for (let round = 0; round < 3; round++) await dying.resume();
    })(),
  ).rejects.toThrow("killed");
  const next = restarted();
  await next.resume();
  await next.offer(signed);
  rollouts.change({ progress: { state: "done" } });
  await next.resume();
  expect(rollouts.applied).toEqual([`r.example:5000/web@${digest(8)}`]);
  expect(outcomes().at(-1)).toBe("DONE");
});

test("killed, and another actuator without its ledger goes on: rolled back once", async () => {
  const signed = intent(add());
  await actuator().offer(signed);
  ledger.close();
  rmSync(join(directory, "ledger.jsonl"));
  ledger = new FileLedger(directory, nowMs);
  rollouts.change({ progress: { state: "done" } });
  await actuator().offer(signed);
  expect(rollouts.applied).toHaveLength(1);
});

describe("what the API server answers", () => {
  const UID = "11111111-2222-3333-4444-555555555555";
  const owned = (uid: string) => [{ kind: "Deployment", name: "web", uid, controller: true }];
  const container = { name: "web", image: "web:1", terminationMessagePath: "/dev/termination-log" };
  const template = (hash?: string) => ({
    metadata: { creationTimestamp: null, labels: { app: "web", ...(hash && { "pod-template-hash": hash }) } },
    spec: { containers: [container], dnsPolicy: "ClusterFirst" },
  });
  const set = (name: string, more: object = {}) => ({
    metadata: {
      name,
      uid: `uid-${name}`,
      resourceVersion: "5",
      ownerReferences: owned(UID),
      annotations: { "deployment.kubernetes.io/revision": "4" },
      ...more,
    },
    spec: { replicas: 0, template: template("abc") },
  });
  const status = (more: object = {}) => ({ observedGeneration: 2, replicas: 3, updatedReplicas: 3, availableReplicas: 3, ...more });
  const deployment = (of: object = status()) => ({
    metadata: { name: "web", uid: UID, resourceVersion: "9", generation: 2 },
    spec: { replicas: 3, template: template() },
    status: of,
  });
  const asked: { path: string; body?: unknown; type?: string }[] = [];
  const api = (objects: Readonly<Record<string, object>>, patched: ApiAnswer = { status: 200, body: {} }) => {
    asked.length = 0;
    return new KubernetesRollouts({
      get: async (path) => {
        const [, kind = "", name = ""] = /\/namespaces\/shop\/([a-z]+)\/(.*)$/.exec(path) ?? [];
        const body = objects[`${kind}/${name}`];
        return body ? { status: 200, body } : { status: 404, body: {} };
      },
      patch: async (path, body, type) => {
        asked.push({ path, body, type });
        return patched;
      },
    });
  };
  const owner = { kind: "ReplicaSet", name: "web-1", uid: "uid-web-1" };
  const both = { "replicasets/web-1": set("web-1"), "deployments/web": deployment() };

  test("a Deployment by its ReplicaSet, each by its uid; its template is that of its revision but for the hash", async () => {
    const found = await api(both).find("shop", owner);
    expect(found).toMatchObject({ kind: "Deployment", name: "web", uid: UID, replicas: 3, paused: false, byHand: false, progress: { state: "done" } });
    const revision = await api(both).revision("shop", "Deployment", "web-1");
    expect(revision).toMatchObject({ name: "web-1", number: 4, ownerUid: UID });
    expect(revision?.template).toEqual(found?.template);
    expect(await api(both).find("shop", { ...owner, uid: "other" })).toBeUndefined();
    expect(
      await api({ ...both, "deployments/web": { ...deployment(), metadata: { ...deployment().metadata, uid: "other" } } }).find("shop", owner),
    ).toBeUndefined();
    expect(await api({ "replicasets/web-1": set("web-1", { ownerReferences: [] }) }).find("shop", owner)).toBeUndefined();
  });

  test.each<[string, object, string]>([
    ["not seen by its controller", status({ observedGeneration: 1 }), "under-way"],
    ["with pods of before", status({ replicas: 4 }), "under-way"],
    ["with pods to come", status({ updatedReplicas: 2 }), "under-way"],
    ["with pods that are not available", status({ availableReplicas: 2 }), "under-way"],
    ["given up", status({ conditions: [{ type: "Progressing", status: "False", reason: "ProgressDeadlineExceeded", message: "timed out" }] }), "stuck"],
  ])("a rollout %s is not done", async (_name, of, state) => {
    expect((await api({ ...both, "deployments/web": deployment(of) }).find("shop", owner))?.progress).toMatchObject({ state });
  });

  test("a StatefulSet and a DaemonSet, by their ControllerRevisions", async () => {
    const meta = { name: "db", uid: UID, resourceVersion: "9", generation: 2 };
    const revisionOf = (kind: string) => ({
      metadata: { name: "db-1", uid: "r", resourceVersion: "2", ownerReferences: [{ kind, name: "db", uid: UID, controller: true }] },
      revision: 3,
      data: { spec: { template: { ...template(), $patch: "replace" } } },
    });
    const spec = { replicas: 2, template: template(), updateStrategy: { type: "RollingUpdate", rollingUpdate: { partition: 1 } } };
    const stateful = {
      "statefulsets/db": { metadata: meta, spec, status: { observedGeneration: 2, updatedReplicas: 2, readyReplicas: 1 } },
      "controllerrevisions/db-1": revisionOf("StatefulSet"),
    };
    const found = await api(stateful).find("shop", { kind: "StatefulSet", name: "db", uid: UID });
    expect(found).toMatchObject({ kind: "StatefulSet", replicas: 2, byHand: true, progress: { state: "under-way" } });
    const earlier = await api(stateful).revision("shop", "StatefulSet", "db-1");
    expect(earlier).toMatchObject({ number: 3, ownerUid: UID });
    expect(await api({ ...stateful, "controllerrevisions/": revisionOf("StatefulSet") }).revision("shop", "StatefulSet", "")).toBeUndefined();
    expect(earlier?.template).toEqual(found?.template);
    const daemon = {
      metadata: meta,
      spec: { template: template() },
      status: { observedGeneration: 2, desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 2 },
    };
    const each = await api({ "daemonsets/db": daemon }).find("shop", { kind: "DaemonSet", name: "db", uid: UID });
    expect(each).toMatchObject({ replicas: 2, byHand: false, progress: { state: "done" } });
  });

  test("Argo CD and Flux: from where they apply, and that they stop", async () => {
    const [source, metadata] = [{ repoURL: "https://git.example/shop", path: "deploy" }, { resourceVersion: "4" }];
    const web = { kind: "Deployment", namespace: "shop", name: "web" } as const;
    const resources = [
      { kind: "Service", namespace: "shop", name: "web", version: "v1" },
      { group: "apps", version: "v1", ...web },
    ];
    const objects: Record<string, object> = {
      "argocd/applications/shop": {
        metadata,
        spec: { source, syncPolicy: { automated: { prune: true } } },
        status: { sync: { revision: "bbb" }, history: [{ revision: "aaa" }, { revision: "bbb" }], resources },
      },
      "argocd/applications/whole": {
        ...{ metadata, spec: { source }, status: { sync: { revision: `bbb${"0".repeat(37)}` }, history: [{ revision: `aaa${"0".repeat(61)}` }], resources } },
      },
      "argocd/applications/manual": { metadata, spec: { sources: [source] }, status: { resources } },
      "flux/kustomizations/apps": {
        ...{ metadata, spec: { path: "./deploy", sourceRef: { kind: "GitRepository", name: "shop" } } },
        status: { lastAppliedRevision: "main@sha1:bbb", inventory: { entries: [{ id: "shop_web_apps_Deployment", v: "v1" }] } },
      },
      // What it waits for is not well: it counts as applied only when it is.
      "flux/kustomizations/waiting": {
        ...{ metadata, spec: { path: "./deploy", sourceRef: { kind: "GitRepository", name: "shop" } } },
        status: {
          ...{ lastAppliedRevision: "main@sha1:aaa", lastAttemptedRevision: "main@sha1:ddd" },
          inventory: { entries: [{ id: "shop_web_apps_Deployment", v: "v1" }] },
          history: [
            { digest: "sha256:3", lastReconciledStatus: "HealthCheckFailed", metadata: { revision: "main@sha1:ddd" } },
            { digest: "sha256:3", lastReconciledStatus: "ReconciliationSucceeded", metadata: { revision: "main@sha1:ccc" } },
            { digest: "sha256:2", lastReconciledStatus: "HealthCheckFailed", metadata: { revision: "main@sha1:bbb" } },
            { digest: "sha256:1", lastReconciledStatus: "ReconciliationSucceeded", metadata: { revision: "main@sha1:aaa" } },
          ],
        },
      },
      "flux/gitrepositories/shop": { spec: { url: "https://bot:hunter2@git.example/shop" } },
      "flux/kustomizations/others": {
        ...{
          metadata,
          spec: { path: "./", sourceRef: { kind: "GitRepository", name: "token" } },
          status: { inventory: { entries: [{ id: "other_web_apps_Deployment" }] } },
        },
      },
      "flux/kustomizations/token": {
        ...{
          metadata,
          spec: { path: "./", sourceRef: { kind: "GitRepository", name: "token" } },
          status: { inventory: { entries: [{ id: "shop_web_apps_Deployment" }] } },
        },
      },
      "flux/gitrepositories/token": { spec: { url: "https://ghp_hunter2@git.example/root" } },
      // What is left of one that was paused before a crash.
      "argocd/applications/paused": { metadata, spec: { source, syncPolicy: {} }, status: { resources } },
      "argocd/applications/disabled": { metadata, spec: { source, syncPolicy: { automated: { enabled: false, prune: true } } }, status: { resources } },
      "argocd/applications/others": {
        metadata,
        spec: { source, syncPolicy: { automated: {} } },
        status: { resources: [{ ...resources[1], namespace: "other" }] },
      },
      "flux/helmreleases/others": { metadata, spec: {} },
      "flux/helmreleases/web": {
        ...{
          metadata,
          spec: { suspend: true, targetNamespace: "shop", chart: { spec: { chart: "web", sourceRef: { kind: "HelmRepository", name: "charts" } } } },
        },
        status: { history: [{ chartVersion: "2.0.0" }, { chartVersion: "1.9.0" }] },
      },
    };
    const patches: unknown[] = [];
    const found = new KubernetesRollouts({
      get: async (path) => {
        const [, key = ""] = /\/namespaces\/(.+)$/.exec(path) ?? [];
        return objects[key] ? { status: 200, body: objects[key] } : { status: key.endsWith("secret") ? 403 : 404, body: {} };
      },
      patch: async (path, body, type) => {
        patches.push([path, body, type]);
        return { status: 200, body: {} };
      },
    });
    const argo = (name: string) => ({ tool: "argocd", kind: "Application", namespace: "argocd", name }) as const;
    const flux = (kind: "Kustomization" | "HelmRelease", name: string) => ({ tool: "flux", kind, namespace: "flux", name }) as const;
    expect(await found.source(argo("shop"), web)).toBe("https://git.example/shop, deploy, at bbb (before that aaa)");
    expect(await found.source(argo("whole"), web)).toBe("https://git.example/shop, deploy, at bbb000000000 (before that aaa000000000)");
    expect(await found.source(argo("manual"), web)).toBe("https://git.example/shop, deploy");
    expect(await found.source(flux("Kustomization", "apps"), web)).toBe("https://git.example/shop, ./deploy, at main@sha1:bbb");
    expect(await found.source(flux("Kustomization", "waiting"), web)).toBe("https://git.example/shop, ./deploy, at main@sha1:ddd (before that main@sha1:aaa)");
    expect(await found.source(flux("HelmRelease", "web"), web)).toBe("chart web of charts, at 2.0.0 (before that 1.9.0)");
    for (const none of [argo("none"), argo("secret")]) expect(await found.source(none, web)).toBeUndefined();

    for (const owner of [argo("shop"), argo("manual"), argo("paused"), argo("disabled"), flux("Kustomization", "apps"), flux("HelmRelease", "web")])
      await found.pause(owner, web);
    const merge = "application/merge-patch+json";
    expect(patches).toEqual([
      [
        "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/shop",
        { metadata: { resourceVersion: "4", annotations: { "hullmark.dev/paused-sync": '{"prune":true}' } }, spec: { syncPolicy: { automated: null } } },
        merge,
      ],
      [
        "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux/kustomizations/apps",
        { metadata: { resourceVersion: "4", annotations: { "hullmark.dev/paused-sync": "suspended" } }, spec: { suspend: true } },
        merge,
      ],
    ]);
    await expect(found.pause(argo("secret"), web)).rejects.toMatchObject({ code: "ENGINE_REFUSED" });
    // Its label is written by whoever deploys there: nobody else's work is stopped by it.
    for (const others of [argo("others"), flux("Kustomization", "others"), flux("HelmRelease", "others")])
      await expect(found.pause(others, web)).rejects.toThrow(/does not say that it applies Deployment shop\/web/);
    expect(patches).toHaveLength(2);
    for (const others of [argo("others"), flux("Kustomization", "others"), flux("HelmRelease", "others")])
      expect(await found.source(others, web)).toBeUndefined();
    expect(await found.source(flux("Kustomization", "token"), web)).toBe("https://git.example/root, ./");
  });

  test("only the template and one annotation are patched, where uid and version are still those", async () => {
    const found = await api(both).find("shop", owner);
    if (!found) throw new Error("none");
    await api(both).apply(found, found.template, "intent/web-1");
    expect(asked).toEqual([
      {
        ...{ path: "/apis/apps/v1/namespaces/shop/deployments/web", type: "application/json-patch+json" },
        body: [
          { op: "test", path: "/metadata/uid", value: UID },
          { op: "replace", path: "/metadata/resourceVersion", value: "9" },
          { op: "replace", path: "/spec/template", value: found.template },
          { op: "add", path: "/metadata/annotations", value: {} },
          { op: "add", path: "/metadata/annotations/hullmark.dev~1rolled-back", value: "intent/web-1" },
        ],
      },
    ]);
    await api(both).halt(found, "intent/3");
    expect(asked[0]?.body).toContainEqual({ op: "replace", path: "/spec/replicas", value: 0 });
    await expect(api(both, { status: 409, body: {} }).apply(found, found.template, "a")).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    await expect(api(both, { status: 500, body: {} }).apply(found, found.template, "a")).rejects.toMatchObject({ code: "ENGINE_UNREACHABLE" });
    await expect(api(both, { status: 403, body: {} }).apply(found, found.template, "a")).rejects.toThrow(/right to patch deployments/);
    await expect(api({ "replicasets/web-1": { kind: "Status" } }).find("shop", owner)).rejects.toMatchObject({ code: "ENGINE_REFUSED" });
  });
});
