/** A drifted pod gives way to a clean one: by the Eviction API as it is, with the rights that the chart gives, and nothing else is done. */
import { hash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { KubernetesCluster } from "@hullmark/actuator/adapters/kubernetes/kubernetes-cluster";
import { KubernetesFence } from "@hullmark/actuator/adapters/kubernetes/kubernetes-fence";
import { KubernetesRollouts } from "@hullmark/actuator/adapters/kubernetes/kubernetes-rollouts";
import { ClusterHands } from "@hullmark/actuator/core/cluster-hands";
import type { PodTarget } from "@hullmark/actuator/ports/cluster";
import { ApiServer } from "@hullmark/daemon/api-server";
import { ActionKind } from "@hullmark/proto/v1/response";
import { CAPTURING_FAILPOINTS, RESPONSE_FAILPOINTS } from "@hullmark/verifier/core/response/index";
import { Decrypter } from "age-encryption";
import { afterAll, beforeAll, expect, test } from "vitest";
import { alertsOf, type HttpReceiver } from "../../fakes/http-receiver.ts";
import { untar } from "../../fakes/untar.ts";
import { eventually, logEntries } from "../fault-support.ts";
import { LONG } from "../long.ts";
import { type Acting, type ActingBed, type KubernetesPod, WITHIN_MS } from "./acting.ts";
import { pod, podSpec } from "./workloads.ts";

/** Rules of the policy: nothing but what these tests make is acted on. */
export const EVICTING = `
      - name: evicted
        select: { workloads: ["default/evict-*"] }
        ladder: { low: [evict], medium: [evict], high: [evict], critical: [evict] }
        capture: { patience: 2m }
      - name: forbidden
        select: { workloads: ["default/budget-next"] }
        ladder: { low: [evict, isolate], medium: [evict, isolate], high: [evict, isolate], critical: [evict, isolate] }
        capture: { patience: 0s }
        budget: { patience: 1m, denied: next }
      - name: left-to-people
        select: { workloads: ["default/budget-people"] }
        ladder: { low: [evict, isolate], medium: [evict, isolate], high: [evict, isolate], critical: [evict, isolate] }
        capture: { patience: 0s }
        budget: { patience: 1m }
`;

const LIMITS = { pauseMs: 60_000, hourlyPercent: 100, protect: [] };

export interface CapturingBed extends ActingBed {
  /** age identity of whoever opens what is captured. */
  readonly responder: string;
}

export interface EvictingBed extends CapturingBed {
  /** Is told of files that were added, and of what holds actions back. */
  readonly pager: HttpReceiver;
}

/** Declares the tests. @param of the bed, once it is up @param actingOf whoever acts, once it runs */
export function evictions(of: () => EvictingBed, actingOf: () => Acting): void {
  let acting: Acting;

  beforeAll(() => {
    acting = actingOf();
  });

  afterAll(() =>
    acting.kubectl("delete", ...["cart", "killed", "till"].map((app) => `deployment/evict-${app}`), "pod/evict-bare", "--ignore-not-found", "--wait=false"),
  );

  const deployment = (app: string, replicas: number): object => ({
    ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: app } },
    spec: { replicas, selector: { matchLabels: { app } }, template: { metadata: { labels: { app } }, spec: podSpec(of().image) } },
  });

  test("a Deployment's pod that was changed is evicted: another is ready and clean, and all of it is told", { timeout: 900_000 }, async () => {
    acting.logsOnFailure();
    await acting.apply(deployment("evict-cart", 2));
    const [victim] = await acting.clean("evict-cart", 2);
    if (!victim) throw new Error("no pod");
    const { name, uid } = victim.metadata;

    await acting.write(name);

    const done = (await acting.actionIs(name, "done", ({ state }) => state === "done")).find(({ state }) => state === "done");
    expect(done).toMatchObject({ kind: "evict", workload: "default/evict-cart" });
    expect(`containerd://${done?.container.id}`).toBe(victim.status.containerStatuses[0]?.containerID);
    const now = await acting.clean("evict-cart", 2);
    expect(now.map(({ metadata }) => metadata.uid)).not.toContain(uid);
    const written = await eventually(
      "the pod's Events",
      () => acting.events(uid),
      (all) => all.some(({ reason }) => reason === "Evicted"),
      WITHIN_MS,
    );
    const both = await acting.toldWithEntry(name, "Evicting", "Evicted");
    expect(both).toEqual([done?.id, done?.id]);
    const [evicting] = written.filter(({ reason }) => reason === "Evicting");
    expect(evicting?.metadata.annotations).toMatchObject({
      "hullmark.dev/action": done?.id,
      "hullmark.dev/drift-log-index": expect.stringMatching(/^\d+$/),
    });
    const ofAction = (entries: Awaited<ReturnType<typeof logEntries>>) => entries.filter((each) => each.type === "action" && each["id"] === done?.id);
    const entries = await eventually(
      "the log tells",
      () => logEntries(of().stack),
      (all) => ofAction(all).some((each) => each["state"] === "done"),
      WITHIN_MS,
    );
    const steps = ofAction(entries);
    expect(steps.map((each) => each["state"]).filter((state, i, all) => state !== all[i - 1])).toEqual(["capturing", "issued", "done"]);
    expect(steps.at(-1)).toMatchObject({ pod: `default/${name}`, podUid: uid, captureTeller: "agent", capture: expect.stringMatching(/^sha256:/) });
    await holdsWhatWasThere(done?.id ?? "", name);
    expect(entries[Number(evicting?.metadata.annotations?.["hullmark.dev/drift-log-index"])]).toMatchObject({ type: "drift" });
    // On a busy machine an intent may end before it is begun, and is issued anew: it is evicted once.
    expect((await acting.told(name)).filter(({ state }) => state === "done")).toHaveLength(1);
  });

  /** Of a pod that is gone: what it wrote, and what ran in it. */
  async function holdsWhatWasThere(action: string, name: string): Promise<void> {
    const { stack, responder } = of();
    const { captures } = await stack.json<{ captures: { action: string; by: string; complete: boolean; files: number; processes: number }[] }>("capture", "ls");
    expect(captures.find((each) => each.action === action)).toMatchObject({ by: "node", complete: true });
    const directory = mkdtempSync(join(tmpdir(), "hullmark-captured-"));
    try {
      const file = join(directory, "capture.age");
      await eventually(
        "the node that has it is there, and it is fetched",
        () => stack.hullmark("capture", "get", action, "-m", "INC-1", "--out", file),
        ({ code }) => code === 0,
        WITHIN_MS,
      );
      // Who fetched what, and why: before its node was asked.
      const noted = await eventually(
        "the log tells of the fetch",
        async () => (await logEntries(stack)).filter((each) => each["action"] === "capture-fetched" && each["of"] === action),
        ({ length }) => length > 0,
        WITHIN_MS,
      );
      const digest = `sha256:${hash("sha256", readFileSync(file))}`;
      expect(noted.at(-1)).toMatchObject({ capture: digest, reason: "INC-1", node: expect.stringMatching(/^[0-9a-f]{16}$/), by: expect.stringMatching(/./) });
      const decrypter = new Decrypter();
      decrypter.addIdentity(responder);
      const files = await untar(gunzipSync(await decrypter.decrypt(readFileSync(file))));
      const index = JSON.parse(files.get("capture.json")?.toString() ?? "") as { name: string; changes: { path: string; kind: string; file: string }[] };
      expect(index.name).toBe(`default/${name}/web`);
      const changed = index.changes.find(({ path }) => path === "/etc/nginx/nginx.conf");
      expect(changed).toMatchObject({ kind: "changed" });
      const content = (await untar(files.get(changed?.file ?? "") ?? Buffer.alloc(0))).get("etc/nginx/nginx.conf")?.toString() ?? "";
      expect(content.endsWith("x\n")).toBe(true);
      const { processes } = JSON.parse(files.get("processes.json")?.toString() ?? "") as { processes: { arguments: string[]; environment: string[] }[] };
      expect(processes.length).toBeGreaterThan(0);
      expect(processes.flatMap(({ environment }) => environment).some((each) => each.startsWith("KUBERNETES_SERVICE_HOST="))).toBe(true);
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  if (LONG)
    test("the verifier is killed at each step of a capture and an eviction: one eviction, and it is done", { timeout: 900_000 }, async () => {
      acting.logsOnFailure();
      await acting.apply(deployment("evict-killed", 1));
      const [victim] = await acting.clean("evict-killed", 1);
      const { name, uid } = victim?.metadata ?? { name: "", uid: "" };
      await acting.killedAt([...CAPTURING_FAILPOINTS, ...RESPONSE_FAILPOINTS], () => acting.write(name));
      const all = await acting.actionIs(name, "done", ({ state }) => state === "done");
      // What is not judged yet when the verifier is back is not issued: it is withdrawn, and decided on anew.
      const begun = all.filter(({ state }) => state !== "withdrawn");
      expect(begun.map(({ kind, state }) => `${kind} ${state}`)).toEqual(["evict done"]);
      await holdsWhatWasThere(begun[0]?.id ?? "", name);
      expect((await acting.clean("evict-killed", 1)).map(({ metadata }) => metadata.uid)).not.toContain(uid);
      expect((await acting.events(uid)).filter(({ reason }) => reason === "Evicted")).toHaveLength(1);
      // What took its place is left alone.
      expect(await acting.told("evict-killed-")).toHaveLength(all.length);
    });

  test("a disruption budget that forbids is waited for, and told of; when it gives way the pod goes", { timeout: 900_000 }, async () => {
    acting.logsOnFailure();
    const budget = { apiVersion: "policy/v1", kind: "PodDisruptionBudget", metadata: { name: "evict-till" } };
    await acting.apply(deployment("evict-till", 1), { ...budget, spec: { minAvailable: 1, selector: { matchLabels: { app: "evict-till" } } } });
    const [victim] = await acting.clean("evict-till", 1);
    if (!victim) throw new Error("no pod");
    const { name, uid } = victim.metadata;
    try {
      await acting.write(name);
      await acting.actionIs(name, "waiting", ({ state, reason }) => state === "issued" && reason === "pdb");
      const { claims } = await of().stack.json<{ claims: { code: string; detail: string }[] }>("status");
      expect(claims.find(({ code }) => code === "budget")?.detail).toMatch(/^1 pod cannot be evicted now/);
      expect(await acting.podsOf("evict-till")).toMatchObject([{ metadata: { uid }, status: { phase: "Running" } }]);
      expect(await acting.events(uid)).toContainEqual(expect.objectContaining({ reason: "EvictionWaits", type: "Warning" }));
      await acting.toldWithEntry(name, "EvictionWaits");
    } finally {
      await acting.kubectl("delete", "poddisruptionbudget", "evict-till");
    }
    await acting.actionIs(name, "done", ({ state }) => state === "done");
    expect((await acting.clean("evict-till", 1)).map(({ metadata }) => metadata.uid)).not.toContain(uid);
  });

  if (LONG)
    test("what budgets forbid for as long as policy waits is isolated then, or left to people, who are told, as policy says; nothing is deleted", {
      timeout: 900_000,
    }, async () => {
      acting.logsOnFailure();
      const apps = ["budget-next", "budget-people"] as const;
      const budget = (app: string): object => ({
        ...{ apiVersion: "policy/v1", kind: "PodDisruptionBudget", metadata: { name: app } },
        spec: { minAvailable: 1, selector: { matchLabels: { app } } },
      });
      await acting.apply(...apps.flatMap((app) => [deployment(app, 1), budget(app)]));
      const victims = new Map<string, KubernetesPod["metadata"]>();
      for (const app of apps) for (const { metadata } of await acting.clean(app, 1)) victims.set(app, metadata);
      const podOf = (app: (typeof apps)[number]) => victims.get(app) ?? { name: "", uid: "" };
      try {
        // Of each a path of its own, and so an alert.
        for (const app of apps) await acting.victim(podOf(app).name).sh(`echo x > /srv/${app}`);
        const next = await acting.actionIs(podOf("budget-next").name, "isolated", ({ kind, state }) => kind === "isolate" && state === "done");
        expect(next.filter(({ kind, state, reason }) => kind === "evict" && state === "failed" && reason === "pdb")).not.toEqual([]);
        await eventually(
          "whoever is on call is told that it came to nothing",
          async () => alertsOf(of().pager, "added").filter(({ path }) => path === "/srv/budget-people"),
          (pages) =>
            pages.some(({ status, description }) => status === "firing" && /^Failed to evict default\/budget-people-\S+ on \S+: pdb /m.test(description)),
          WITHIN_MS,
        );
        expect((await acting.told(podOf("budget-people").name)).map(({ kind, state, reason }) => [kind, state, reason])).toEqual([["evict", "failed", "pdb"]]);
        for (const app of apps) {
          const { name, uid } = podOf(app);
          const now = await acting.podsOf(app);
          expect(now).toMatchObject([{ metadata: { uid }, status: { phase: "Running" } }]);
          expect(now[0]?.metadata).not.toHaveProperty("deletionTimestamp");
          const reasons = (await acting.events(uid)).map(({ reason }) => reason);
          expect(reasons).toEqual(expect.arrayContaining(["Drifted", "EvictionWaits", "EvictionFailed", ...(app === "budget-next" ? ["Isolated"] : [])]));
          expect(reasons).not.toContain("Evicted");
          await acting.toldWithEntry(name, "EvictionWaits", "EvictionFailed");
        }
      } finally {
        await acting.kubectl("delete", ...apps.flatMap((app) => [`poddisruptionbudget/${app}`, `deployment/${app}`]), "--wait=false");
      }
    });

  test("a pod that nobody would make again is left as it is, and that is told", { timeout: 600_000 }, async () => {
    acting.logsOnFailure();
    await acting.apply(pod("evict-bare", of().image));
    await eventually(
      "it is clean",
      () => of().stack.json<{ container: { name: string }; verdict: string }[]>("workloads"),
      (all) => all.some(({ container, verdict }) => container.name === "default/evict-bare/web" && verdict === "affirming"),
      WITHIN_MS,
    );
    const uid = await acting.kubectl("get", "pod", "evict-bare", "--output=jsonpath={.metadata.uid}");
    await acting.write("evict-bare");
    await acting.actionIs("evict-bare", "refused", ({ state, reason }) => state === "refused" && reason === "bare-pod");
    expect(await acting.kubectl("get", "pod", "evict-bare", "--output=jsonpath={.metadata.uid} {.status.phase}")).toBe(`${uid} Running`);
    const told = { reason: "EvictionFailed", type: "Warning", message: expect.stringContaining("was not evicted: bare-pod") };
    expect(await acting.events(uid)).toContainEqual(expect.objectContaining(told));
  });

  test("what the API server says of a pod is what counts, and of another than is meant nothing is asked", { timeout: 600_000 }, async () => {
    const [there] = await acting.clean("evict-till", 1);
    const [status] = there?.status.containerStatuses ?? [];
    if (!there || !status) throw new Error("no pod");
    const api = new ApiServer({ url: acting.access.apiServer, caFile: acting.access.caFile, tokenFile: acting.access.tokenFile });
    const adapter = new KubernetesCluster(api, "test");
    const target = { namespace: "default", name: there.metadata.name, uid: there.metadata.uid };
    const digest = status.imageID.slice(status.imageID.lastIndexOf("@") + 1);
    const containerId = status.containerID.replace("containerd://", "");
    expect(await adapter.find(target)).toMatchObject({
      ...{ uid: target.uid, nodeName: there.spec.nodeName, running: true, isStatic: false, owner: "Deployment/evict-till", endsMs: undefined },
      containers: [{ name: "web", id: containerId, imageDigest: digest, running: true }],
    });
    expect(await adapter.find({ namespace: "default", name: "nothing" })).toBeUndefined();
    const all: { items: readonly KubernetesPod[] } = JSON.parse(await acting.kubectl("get", "pods", "--all-namespaces", "--output=json"));
    const running = all.items.filter(({ status: { phase } }) => phase === "Running").length;
    // Others come and go meanwhile.
    expect(Math.abs((await adapter.countRunning()) - running)).toBeLessThanOrEqual(5);
    expect(await adapter.evict({ ...target, uid: "00000000-0000-0000-0000-000000000000" })).toEqual({ outcome: "gone" });
    expect((await acting.podsOf("evict-till")).map(({ metadata }) => metadata.uid)).toEqual([target.uid]);

    const hands = new ClusterHands({
      cluster: adapter,
      rollouts: new KubernetesRollouts(api),
      fence: new KubernetesFence(api),
      ledger: { all: () => [] },
      limits: LIMITS,
      ownNamespace: "hullmark",
      onUntold: () => {},
    });
    const refusal = async (more: Partial<PodTarget>, owners: readonly string[] = []) => {
      const named = { ...target, container: "web", nodeName: there.spec.nodeName, imageDigests: [digest], driftId: "D-1", driftLogIndex: 0, ...more };
      const intent = { id: randomBytes(16).toString("hex"), actionId: "A-7K2Q", kind: ActionKind.EVICT, containerId, imageId: digest, expiresAtMs: 0, owners };
      return (await hands.look({ ...intent, target: undefined, node: undefined, rollout: undefined, pod: named }, [], Date.now())).refusal;
    };
    expect(await refusal({})).toBeUndefined();
    expect(await refusal({ uid: "00000000-0000-0000-0000-000000000000" })).toBe("other-pod");
    expect(await refusal({ nodeName: "node-2" })).toBe("on-other-node");
    expect(await refusal({ imageDigests: [`sha256:${"0".repeat(64)}`] })).toBe("other-image");
    expect(await refusal({ namespace: "kube-system" })).toBe("protected");
    // It may ask for evictions, and delete nothing.
    expect(await api.delete(`/api/v1/namespaces/default/pods/${target.name}`)).toMatchObject({ status: 403 });
  });
}
