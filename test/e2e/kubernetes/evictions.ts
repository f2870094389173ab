/** A drifted pod gives way to a clean one: by the Eviction API as it is, with the rights that the chart gives, and nothing else is done. */
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubernetesCluster } from "@hullmark/actuator/adapters/kubernetes/kubernetes-cluster";
import { KubernetesRollouts } from "@hullmark/actuator/adapters/kubernetes/kubernetes-rollouts";
import { ClusterHands } from "@hullmark/actuator/core/cluster-hands";
import type { PodTarget } from "@hullmark/actuator/ports/cluster";
import { ApiServer } from "@hullmark/daemon/api-server";
import { ActionKind } from "@hullmark/proto/v1/response";
import { afterAll, beforeAll, expect, onTestFailed, test } from "vitest";
import { parse, stringify } from "yaml";
import { type Stack, tail } from "../../../deploy/stack/stack.ts";
import type { Kubernetes, Testbed } from "../../../deploy/testbed/index.ts";
import { REPOSITORY } from "../../../deploy/testbed/paths.ts";
import { type Daemon, startDaemon } from "../../../deploy/testbed/run.ts";
import { eventually, logEntries } from "../fault-support.ts";
import type { Programs } from "../images/programs.ts";
import { type ApiServerAccess, serviceAccount } from "./follower.ts";
import { PodVictim } from "./pod-victim.ts";
import { pod, podSpec } from "./workloads.ts";

/** For the policy: nothing but what these tests make is acted on. */
export const EVICTING = `  response:
    pause: 1m
    hourlyPercent: 100
    rules:
      - name: evicted
        select: { workloads: ["default/evict-*"] }
        ladder: { low: [evict], medium: [evict], high: [evict], critical: [evict] }
`;

/** Rules of the chart's ClusterRole: the template has nothing to be filled in there. */
function rights(): readonly object[] {
  const template = readFileSync(join(REPOSITORY, "deploy/helm/hullmark/templates/actuator.yaml"), "utf8");
  const { rules } = parse(/^rules:\n(?: +.*\n)+/m.exec(template)?.[0] ?? "") as { rules: readonly object[] };
  return rules;
}

export interface EvictionBed {
  readonly bed: Testbed;
  readonly cluster: Kubernetes;
  readonly stack: Stack;
  readonly programs: Programs;
  /** Reference of a signed image. */
  readonly image: string;
}

interface ToldAction {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly reason: string;
  readonly workload: string;
  readonly container: { readonly id: string; readonly name: string };
  readonly logIndex: number;
}

interface KubernetesPod {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly spec: { readonly nodeName: string };
  readonly status: { readonly phase: string; readonly containerStatuses: readonly { readonly containerID: string; readonly imageID: string }[] };
}

interface KubernetesEvent {
  readonly reason: string;
  readonly type: string;
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>> };
}

const WITHIN_MS = 240_000;
const LIMITS = { pauseMs: 60_000, hourlyPercent: 100, protect: [] };

/** Declares the tests. @param of the bed, once it is up */
export function evictions(of: () => EvictionBed): void {
  let home: string;
  let actuator: Daemon;
  let access: ApiServerAccess;

  const kubectl = (...args: string[]): Promise<string> => of().cluster.kubectl(args);
  const apply = (...items: object[]): Promise<string> =>
    of().cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  const podsOf = async (app: string): Promise<readonly KubernetesPod[]> =>
    JSON.parse(await kubectl("get", "pods", `--selector=app=${app}`, "--output=json")).items;
  const told = async (name: string): Promise<readonly ToldAction[]> =>
    (await of().stack.json<{ actions: ToldAction[] }>("action", "ls")).actions.filter(({ container }) => container.name === `default/${name}/web`);
  const actionIs = (name: string, what: string, is: (action: ToldAction) => boolean): Promise<readonly ToldAction[]> =>
    eventually(
      `the action on ${name} is ${what}`,
      () => told(name),
      ([first]) => first !== undefined && is(first),
      WITHIN_MS,
    );
  const events = async (uid: string): Promise<readonly KubernetesEvent[]> =>
    JSON.parse(await kubectl("get", "events", `--field-selector=involvedObject.uid=${uid}`, "--output=json")).items;

  beforeAll(async () => {
    const { bed, cluster, stack } = of();
    home = mkdtempSync(join(tmpdir(), "hullmark-evictions-"));
    access = await serviceAccount(cluster, home, "actuator", rights());
    const credentialDirectory = join(home, "credentials");
    await eventually(
      "its credentials",
      () => stack.hullmark("node", "actuator", "--cluster", "--dir", credentialDirectory),
      ({ code }) => code === 0,
      WITHIN_MS,
    );
    mkdirSync(join(home, "state"), { mode: 0o700 });
    const config = join(home, "actuator.yaml");
    const address = /localhost:\d+/.exec(readFileSync(stack.cliConfig, "utf8"))?.[0];
    writeFileSync(
      config,
      stringify({
        ...{ stateDirectory: join(home, "state"), credentialDirectory, verifier: { address } },
        ...{ kubernetes: { namespace: "hullmark", ...access }, limits: { pauseSeconds: 60, hourlyPercent: 100 } },
      }),
    );
    const argv = bed.wrap([process.execPath, join(REPOSITORY, "dist/actuator.js"), "--config", config]);
    actuator = await startDaemon({ name: "actuator", argv, env: { ...bed.env }, logPath: join(bed.directory, "actuator.log"), ready: async () => true });
  });

  afterAll(async () => {
    await actuator?.stop();
    if (home) rmSync(home, { recursive: true, force: true });
    await kubectl("delete", "deployment/evict-cart", "deployment/evict-till", "pod/evict-bare", "--ignore-not-found", "--wait=false");
  });

  const logsOnFailure = (): void =>
    onTestFailed(() => {
      for (const name of ["actuator", "verifier"]) console.error(`--- ${name}\n${tail(join(of().bed.directory, `${name}.log`), 40)}`);
    });

  const deployment = (app: string, replicas: number): object => ({
    ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: app } },
    spec: { replicas, selector: { matchLabels: { app } }, template: { metadata: { labels: { app } }, spec: podSpec(of().image) } },
  });

  /** Waits until so many pods of it run, each judged clean. */
  async function clean(app: string, count: number): Promise<readonly KubernetesPod[]> {
    await kubectl("rollout", "status", `deployment/${app}`, "--timeout=240s");
    const running = await eventually(
      `${app} has ${count} pods`,
      () => podsOf(app),
      (pods) => pods.length === count && pods.every(({ status }) => status.phase === "Running"),
      WITHIN_MS,
    );
    const names = running.map(({ metadata }) => `default/${metadata.name}/web`).sort();
    await eventually(
      `${app} is clean`,
      async () =>
        (await of().stack.json<{ container: { name: string }; verdict: string }[]>("workloads"))
          .filter(({ container, verdict }) => names.includes(container.name) && verdict === "affirming")
          .map(({ container }) => container.name)
          .sort(),
      (affirmed) => JSON.stringify(affirmed) === JSON.stringify(names),
      WITHIN_MS,
    );
    return running;
  }

  const write = (name: string): Promise<string> => new PodVictim(of().cluster, of().programs, name).sh("echo x >> /etc/nginx/nginx.conf");

  test("a Deployment's pod that was changed is evicted: another is ready and clean, and all of it is told", { timeout: 900_000 }, async () => {
    logsOnFailure();
    await apply(deployment("evict-cart", 2));
    const [victim] = await clean("evict-cart", 2);
    if (!victim) throw new Error("no pod");
    const { name, uid } = victim.metadata;

    await write(name);

    const [done] = await actionIs(name, "done", ({ state }) => state === "done");
    expect(done).toMatchObject({ kind: "evict", workload: "default/evict-cart" });
    expect(`containerd://${done?.container.id}`).toBe(victim.status.containerStatuses[0]?.containerID);
    const now = await clean("evict-cart", 2);
    expect(now.map(({ metadata }) => metadata.uid)).not.toContain(uid);
    const written = await eventually(
      "the pod's Events",
      () => events(uid),
      (all) => all.some(({ reason }) => reason === "Evicted"),
      WITHIN_MS,
    );
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
    expect(steps.map((each) => each["state"]).filter((state, i, all) => state !== all[i - 1])).toEqual(["issued", "done"]);
    expect(steps.at(-1)).toMatchObject({ pod: `default/${name}`, podUid: uid });
    expect(entries[Number(evicting?.metadata.annotations?.["hullmark.dev/drift-log-index"])]).toMatchObject({ type: "drift" });
    // On a busy machine an intent may end before it is begun, and is issued anew: it is evicted once.
    expect((await told(name)).filter(({ state }) => state === "done")).toHaveLength(1);
  });

  test("a disruption budget that forbids is waited for, and told of; when it gives way the pod goes", { timeout: 900_000 }, async () => {
    logsOnFailure();
    const budget = { apiVersion: "policy/v1", kind: "PodDisruptionBudget", metadata: { name: "evict-till" } };
    await apply(deployment("evict-till", 1), { ...budget, spec: { minAvailable: 1, selector: { matchLabels: { app: "evict-till" } } } });
    const [victim] = await clean("evict-till", 1);
    if (!victim) throw new Error("no pod");
    const { name, uid } = victim.metadata;
    try {
      await write(name);
      await actionIs(name, "waiting", ({ state, reason }) => state === "issued" && reason === "pdb");
      const { claims } = await of().stack.json<{ claims: { code: string; detail: string }[] }>("status");
      expect(claims.find(({ code }) => code === "budget")?.detail).toMatch(/^1 pods cannot be evicted now/);
      expect(await podsOf("evict-till")).toMatchObject([{ metadata: { uid }, status: { phase: "Running" } }]);
      expect(await events(uid)).toContainEqual(expect.objectContaining({ reason: "EvictionWaits", type: "Warning" }));
    } finally {
      await kubectl("delete", "poddisruptionbudget", "evict-till");
    }
    await actionIs(name, "done", ({ state }) => state === "done");
    expect((await clean("evict-till", 1)).map(({ metadata }) => metadata.uid)).not.toContain(uid);
  });

  test("a pod that nobody would make again is left as it is, and that is told", { timeout: 600_000 }, async () => {
    logsOnFailure();
    await apply(pod("evict-bare", of().image));
    await eventually(
      "it is clean",
      () => of().stack.json<{ container: { name: string }; verdict: string }[]>("workloads"),
      (all) => all.some(({ container, verdict }) => container.name === "default/evict-bare/web" && verdict === "affirming"),
      WITHIN_MS,
    );
    const uid = await kubectl("get", "pod", "evict-bare", "--output=jsonpath={.metadata.uid}");
    await write("evict-bare");
    await actionIs("evict-bare", "refused", ({ state, reason }) => state === "refused" && reason === "bare-pod");
    expect(await kubectl("get", "pod", "evict-bare", "--output=jsonpath={.metadata.uid} {.status.phase}")).toBe(`${uid} Running`);
  });

  test("what the API server says of a pod is what counts, and of another than is meant nothing is asked", { timeout: 600_000 }, async () => {
    const [there] = await clean("evict-till", 1);
    const [status] = there?.status.containerStatuses ?? [];
    if (!there || !status) throw new Error("no pod");
    const api = new ApiServer({ url: access.apiServer, caFile: access.caFile, tokenFile: access.tokenFile });
    const adapter = new KubernetesCluster(api, "test");
    const target = { namespace: "default", name: there.metadata.name, uid: there.metadata.uid };
    const digest = status.imageID.slice(status.imageID.lastIndexOf("@") + 1);
    const containerId = status.containerID.replace("containerd://", "");
    expect(await adapter.find(target)).toMatchObject({
      ...{ uid: target.uid, nodeName: there.spec.nodeName, running: true, isStatic: false, owner: "Deployment/evict-till", endsMs: undefined },
      containers: [{ name: "web", id: containerId, imageDigest: digest }],
    });
    expect(await adapter.find({ namespace: "default", name: "nothing" })).toBeUndefined();
    const all: { items: readonly object[] } = JSON.parse(await kubectl("get", "pods", "--all-namespaces", "--output=json"));
    // Others come and go meanwhile.
    expect(Math.abs((await adapter.countPods()) - all.items.length)).toBeLessThanOrEqual(5);
    expect(await adapter.evict({ ...target, uid: "00000000-0000-0000-0000-000000000000" })).toEqual({ outcome: "gone" });
    expect((await podsOf("evict-till")).map(({ metadata }) => metadata.uid)).toEqual([target.uid]);

    const hands = new ClusterHands({ cluster: adapter, rollouts: new KubernetesRollouts(api), limits: LIMITS, ownNamespace: "hullmark", onUntold: () => {} });
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
