/**
 * A cluster's actuator alone against a real API server, with the rights that the chart gives: killed at every place where it can be, and the API server with it, it neither loses
 * nor repeats what it was told; and a verifier that is not to be believed moves it no further than its own limits. The test plays the verifier.
 */
import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { FAILPOINTS } from "@hullmark/actuator/core/carry-out";
import { intentMessage } from "@hullmark/proto/codec";
import { ActionKind, NodeMark, Outcome } from "@hullmark/proto/v1/response";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Kubernetes, startTestbed, type Testbed } from "../../../deploy/testbed/index.ts";
import { eventually } from "../fault-support.ts";
import { acceptanceImage } from "../images/acceptance.ts";
import { loadPrograms } from "../images/programs.ts";
import { type PushedImage, pushImage } from "../images/push.ts";
import { type IntentInit, LoneActuator } from "../lone-actuator.ts";
import { LONG } from "../long.ts";
import { type KubernetesEvent, type KubernetesPod, rights } from "./acting.ts";
import { ApiGate } from "./api-gate.ts";
import { type ApiServerAccess, serviceAccount } from "./follower.ts";
import { APPLICATIONS, application } from "./rollbacks.ts";
import { podSpec } from "./workloads.ts";

type Deed = "evict" | "isolate" | "release" | "rollback" | "halt" | "unsync" | "mark" | "lift";
/** What takes back what was done first. */
const UNDOES = { release: "isolate", lift: "mark" } as const satisfies Partial<Record<Deed, Deed>>;

/** Between what is begun and what is over. */
const INNER = FAILPOINTS.workloads.slice(FAILPOINTS.workloads.indexOf("rolling-back"), FAILPOINTS.workloads.indexOf("settled"));

/** Each list of failpoints of a cluster's actuator, by what passes all of them; that of hosts has a test of its own. */
const KILLED = {
  pods: [["evict", FAILPOINTS.pods]],
  workloads: [
    ["rollback", FAILPOINTS.workloads],
    ["halt", INNER],
    ["unsync", INNER],
  ],
  nodes: [
    ["mark", FAILPOINTS.nodes],
    ["lift", ["marking", "marked"]],
  ],
  fences: [
    ["isolate", FAILPOINTS.fences],
    ["release", ["labelled"]],
  ],
  lease: [["evict", FAILPOINTS.lease]],
} as const satisfies Record<
  Exclude<keyof typeof FAILPOINTS, "containers" | "captures" | "networks" | "layers">,
  readonly (readonly [Deed, readonly string[]])[]
>;

type Kind = "deployment" | "statefulset" | "daemonset";

interface Case {
  readonly deed: Deed;
  readonly failpoint: string;
  /** Name of its workload, or of its Node. */
  readonly app: string;
  /** Of its workload; undefined: a Deployment. */
  readonly kind?: Kind;
}

/** What became of one: it was begun, killed, and begun again. */
interface Killed {
  readonly actuator: LoneActuator;
  readonly id: Buffer;
  /** undefined: it is about a node. */
  readonly before: KubernetesPod | undefined;
  /** null: the place was not passed. */
  readonly by: string | null;
}

/** Their revisions are objects of another kind than a Deployment's. */
const OTHER_KINDS: readonly Kind[] = LONG ? ["statefulset", "daemonset"] : [];
const CASES: readonly Case[] = [
  ...Object.values(KILLED).flatMap((each) => each.flatMap(([deed, points]) => points.map((failpoint) => ({ deed, failpoint, app: `${deed}-${failpoint}` })))),
  ...OTHER_KINDS.flatMap((kind) => FAILPOINTS.workloads.map((failpoint): Case => ({ deed: "rollback", failpoint, kind, app: `${kind}-${failpoint}` }))),
];

/** Each write of a cluster's actuator, by what it is done for, in order; those for its Lease go with the first. */
const CUT = {
  evict: ["create leases", "patch leases", "create events", "create pods/eviction", "create events"],
  isolate: ["create networkpolicies", "patch pods", "create events"],
  release: ["patch pods", "create events"],
  rollback: ["create events", "patch deployments", "create events"],
  halt: ["create events", "patch deployments", "create events"],
  unsync: ["create events", "patch applications", "patch deployments", "create events"],
  mark: ["patch nodes", "create events", "patch nodes", "patch nodes"],
  lift: ["patch nodes", "create events", "patch nodes", "patch nodes"],
} as const satisfies Record<Deed, readonly string[]>;
/** One of each kind of object that is acted on: the API server is killed when it has carried out all of these. */
const DEAD = { evict: ["create pods/eviction"], release: ["patch pods"], rollback: ["patch deployments"], mark: ["patch nodes"] } as const satisfies Partial<
  Record<Deed, readonly string[]>
>;
/** The Event that says that it is over, of nodes one a mark. */
const OVER: Readonly<Record<Deed, string>> = {
  ...{ evict: "Evicted", isolate: "Isolated", release: "Released", rollback: "RolledBack", halt: "Halted", unsync: "RolledBack" },
  ...{ mark: "NodeUntrusted", lift: "NodeTrusted" },
};

/** One whose writes are carried out, and whose answers do not come. */
interface Unheard {
  readonly deed: Deed;
  readonly app: string;
  readonly losing: readonly string[];
  readonly killed: boolean;
}

const unheard = (of: Partial<Record<Deed, readonly string[]>>, killed: boolean): readonly Unheard[] =>
  Object.entries(of).map(([deed, losing]) => ({ deed: deed as Deed, app: `${deed}-${killed ? "dead" : "cut"}`, losing, killed }));
const UNHEARD = [...unheard(CUT, false), ...unheard(DEAD, true)];
type Told = Pick<Case, "deed" | "app" | "kind">;
const ALL: readonly Told[] = [...CASES, ...UNHEARD];
const ofNode = ({ deed }: Pick<Case, "deed">): boolean => deed === "mark" || deed === "lift";
const CLUSTER = "prod";
const NAMESPACE = "hullmark";
const WITHIN_MS = 240_000;
const MARKS = [NodeMark.LABEL, NodeMark.TAINT, NodeMark.CORDON];
const NODE_ID = "ffeeddccbbaa9988";
/** Places of the Lease are passed by whoever waits for it. */
const [LEASED, AT_ONCE] = [CASES.filter(({ failpoint }) => failpoint.startsWith("lease-")), CASES.filter(({ failpoint }) => !failpoint.startsWith("lease-"))];
/** Of two processors. */
const TOGETHER = 3;

interface Workload {
  readonly metadata: { readonly uid: string; readonly annotations: Readonly<Record<string, string>> };
  readonly spec: { readonly replicas: number; readonly template: { readonly spec: { readonly containers: readonly { readonly image: string }[] } } };
}

interface ReplicaSet {
  readonly metadata: { readonly name: string; readonly uid: string; readonly annotations: Readonly<Record<string, string>> };
}

interface ControllerRevision {
  readonly metadata: { readonly name: string };
  readonly revision: number;
}

let bed: Testbed;
let cluster: Kubernetes;
let access: ApiServerAccess;
let actuator: LoneActuator;
let home: string;
let first: PushedImage;
let second: PushedImage;

const kubectl = (...args: string[]): Promise<string> => cluster.kubectl(args);
const apply = (...items: object[]): Promise<string> => cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items }));

function deployment(app: string, replicas = 1, annotations: Readonly<Record<string, string>> = {}): object {
  const template = { metadata: { labels: { app } }, spec: podSpec(first.tagged) };
  return {
    ...{ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: app, annotations } },
    spec: { replicas, selector: { matchLabels: { app } }, template },
  };
}

/** Of one pod, on the node that runs any. */
function otherKind(kind: Kind, app: string): object {
  const template = { metadata: { labels: { app } }, spec: podSpec(first.tagged, { spec: { nodeSelector: { "kubernetes.io/hostname": cluster.nodeName } } }) };
  const spec = { selector: { matchLabels: { app } }, template, ...(kind === "statefulset" && { replicas: 1, serviceName: app }) };
  return { apiVersion: "apps/v1", kind: kind === "statefulset" ? "StatefulSet" : "DaemonSet", metadata: { name: app }, spec };
}

const tracked = (app: string) => ({ "argocd.argoproj.io/tracking-id": `${app}:apps/Deployment:default/${app}` });
const rolledOut = (app: string, kind: Kind = "deployment"): Promise<string> => kubectl("rollout", "status", `${kind}/${app}`, "--timeout=240s");

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "hullmark-e2e-"));
  const parts = { kubernetes: { audited: ["system:serviceaccounts:default"] }, registry: true } as const;
  const [started, programs] = await Promise.all([startTestbed({ name: "e2e-hands", parts }), loadPrograms()]);
  bed = started;
  if (!bed.kubernetes) throw new Error("no cluster");
  cluster = bed.kubernetes;
  const push = (edition: string): Promise<PushedImage> => pushImage(bed.registry?.host ?? "", "acme/web", edition, acceptanceImage(programs, edition));
  [first, second] = await Promise.all([push("1"), push("2")]);
  const leases = { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["get", "create", "patch"] };
  access = await serviceAccount(cluster, home, "actuator", [...rights(), leases]);
  actuator = await LoneActuator.open({ cluster: CLUSTER }, bed.env);
  await apply(
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "argocd" } },
    { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } },
    APPLICATIONS,
  );
  await kubectl("wait", "--for=condition=Established", "customresourcedefinition/applications.argoproj.io", "--timeout=60s");
  const unsynced = ALL.filter(({ deed }) => deed === "unsync").map(({ app }) => app);
  await apply(...unsynced.map(application));
  const ofPods = ALL.filter((each) => !ofNode(each));
  // Nodes that nothing runs on: no kubelet is there.
  await apply(...ALL.filter(ofNode).map(({ app }) => ({ apiVersion: "v1", kind: "Node", metadata: { name: app } })));
  const made = ({ app, kind }: Told): object => (kind ? otherKind(kind, app) : deployment(app, 1, unsynced.includes(app) ? tracked(app) : {}));
  await apply(...ofPods.map(made), deployment("prey", 2), deployment("bystander"));
  for (const { app, kind } of ofPods) await rolledOut(app, kind);
  const changed = ofPods.filter(({ deed }) => deed === "rollback" || deed === "halt" || deed === "unsync");
  for (const { app, kind = "deployment" } of changed) await kubectl("set", "image", `${kind}/${app}`, `web=${second.tagged}`);
  for (const { app, kind } of changed) await rolledOut(app, kind);
  for (const app of ["prey", "bystander"]) await rolledOut(app);
});

afterEach(() => actuator?.ended("SIGKILL"));

afterAll(async () => {
  await actuator?.close();
  await bed?.down();
  if (home) rmSync(home, { recursive: true, force: true });
});

const get = async <T>(...what: string[]): Promise<T> => JSON.parse(await kubectl("get", ...what, "--output=json")) as T;

/** Those that run, the oldest first. */
async function podsOf(app: string): Promise<readonly KubernetesPod[]> {
  const { items } = await get<{ items: KubernetesPod[] }>("pods", `--selector=app=${app}`, "--sort-by=metadata.creationTimestamp");
  return items.filter(({ status, metadata }) => status.phase === "Running" && !metadata.deletionTimestamp);
}

async function podOf(app: string): Promise<KubernetesPod> {
  const [found] = await podsOf(app);
  if (!found) throw new Error(`no pod of ${app}`);
  return found;
}

function about({ metadata, spec, status }: KubernetesPod, kind: ActionKind, more: IntentInit = {}): IntentInit {
  const [container] = status.containerStatuses;
  const digest = container?.imageID.split("@").at(-1) ?? "";
  return {
    ...{ cluster: CLUSTER, kind, containerId: container?.containerID.split("//").at(-1) ?? "", configDigest: digest, podImageDigests: [digest] },
    ...{ podNamespace: "default", podName: metadata.name, podUid: metadata.uid, podContainer: "web", podNode: spec.nodeName, ...more },
  };
}

/** The newest last. */
async function replicaSets(app: string): Promise<readonly ReplicaSet[]> {
  const { items } = await get<{ items: ReplicaSet[] }>("replicasets", `--selector=app=${app}`);
  const numberOf = ({ metadata }: ReplicaSet): number => Number(metadata.annotations["deployment.kubernetes.io/revision"]);
  return items.toSorted((a, b) => numberOf(a) - numberOf(b));
}

/** Of a StatefulSet or DaemonSet, the newest last. */
async function controllerRevisions(app: string): Promise<readonly ControllerRevision[]> {
  const { items } = await get<{ items: ControllerRevision[] }>("controllerrevisions", `--selector=app=${app}`);
  return items.toSorted((a, b) => a.revision - b.revision);
}

function markFor(app: string, nodeId = NODE_ID): IntentInit {
  return { cluster: CLUSTER, kind: ActionKind.MARK_NODE, node: { nodeId, name: app, marks: MARKS, reason: "layer" } };
}

function liftFor(app: string, nodeId = NODE_ID): IntentInit {
  return { cluster: CLUSTER, kind: ActionKind.LIFT_NODE, node: { nodeId, name: app, marks: MARKS } };
}

async function intentFor(deed: Deed, app: string, pod: KubernetesPod | undefined, kind?: Kind): Promise<IntentInit> {
  if (!pod) return deed === "lift" ? liftFor(app) : markFor(app);
  if (deed === "evict") return about(pod, ActionKind.EVICT);
  if (deed === "isolate") return about(pod, ActionKind.ISOLATE);
  if (deed === "release") return about(pod, ActionKind.RELEASE);
  if (kind) {
    const { metadata } = await get<Workload>(kind, app);
    const [{ metadata: revision } = { metadata: { name: "" } }] = await controllerRevisions(app);
    const podOwner = { kind: kind === "statefulset" ? "StatefulSet" : "DaemonSet", name: app, uid: metadata.uid };
    return about(pod, ActionKind.ROLLBACK, { podOwner, revisions: [{ name: revision.name, images: [{ container: "web", digest: first.digest }] }] });
  }
  const [before, now] = await replicaSets(app);
  const podOwner = { kind: "ReplicaSet", name: now?.metadata.name ?? "", uid: now?.metadata.uid ?? "" };
  if (deed === "halt") return about(pod, ActionKind.HALT, { podOwner });
  const revisions = [{ name: before?.metadata.name ?? "", images: [{ container: "web", digest: first.digest }] }];
  return about(pod, ActionKind.ROLLBACK, { podOwner, revisions, ...(deed === "unsync" && { owners: ["argocd"] }) });
}

interface Audited {
  readonly verb: string;
  readonly objectRef?: { readonly resource: string; readonly subresource?: string; readonly name?: string };
  readonly responseStatus?: { readonly code: number };
}

/** What the API server has done for the actuator, by its own audit log: the objects' names. */
function done(verb: string, resource: string): string[] {
  const lines = readFileSync(cluster.auditLog, "utf8").trimEnd().split("\n");
  const all = lines.filter((line) => line.includes(":actuator")).map((line) => JSON.parse(line) as Audited);
  return all.flatMap(({ verb: asked, objectRef: object, responseStatus }) => {
    const [kind, part] = resource.split("/");
    const is = asked === verb && object?.resource === kind && object?.subresource === part && (responseStatus?.code ?? 500) < 300;
    return is ? [object?.name ?? ""] : [];
  });
}

const settings = (more: object = {}, limits: object = {}): object => ({
  ...{
    kubernetes: { namespace: NAMESPACE, halt: true, networkPolicyEnforced: true, ...access, ...more },
    limits: { hourlyPercent: 100, ...limits },
    nodes: { allow: ["mark-*", "lift-*"] },
  },
});

async function expectDone({ deed, app, kind = "deployment" }: Told, id: Buffer, before: KubernetesPod): Promise<void> {
  const evicted = done("create", "pods/eviction").filter((name) => name.startsWith(`${app}-`));
  const patched = done("patch", `${kind}s`).filter((name) => name === app);
  const now = await get<Workload>(kind, app);
  if (deed === "evict") {
    expect({ evicted, patched }).toEqual({ evicted: [before.metadata.name], patched: [] });
    const pods = await eventually(
      "another runs",
      () => podsOf(app),
      (all) => all.length === 1 && all[0]?.metadata.uid !== before.metadata.uid,
      WITHIN_MS,
    );
    expect(pods).toHaveLength(1);
    return;
  }
  if (deed === "isolate") {
    expect(done("patch", "pods").filter((name) => name === before.metadata.name)).toHaveLength(1);
    expect(await kubectl("get", "pod", before.metadata.name, "--output=jsonpath={.metadata.uid} {.metadata.labels.hullmark\\.dev/isolated}")).toMatch(
      new RegExp(`^${before.metadata.uid} A-`),
    );
    expect(await kubectl("get", "networkpolicies", "--output=jsonpath={.items[*].metadata.name}")).toBe("hullmark-isolated");
    return;
  }
  if (deed === "release") {
    // The label once put on, and once taken away.
    expect(done("patch", "pods").filter((name) => name === before.metadata.name)).toHaveLength(2);
    const { metadata } = await get<KubernetesPod>("pod", before.metadata.name);
    expect(metadata.uid).toBe(before.metadata.uid);
    expect(JSON.stringify(metadata)).not.toContain("hullmark.dev/");
    return;
  }
  expect({ evicted, patched }).toEqual({ evicted: [], patched: [app] });
  if (deed === "halt") {
    expect(now).toMatchObject({ spec: { replicas: 0 }, metadata: { annotations: { "hullmark.dev/halted": `${id.toString("hex")}/1` } } });
    return;
  }
  expect(now.spec.template.spec.containers[0]?.image).toBe(first.reference);
  if (kind === "deployment") expect(now.metadata.annotations).toMatchObject({ "deployment.kubernetes.io/revision": "3" });
  else expect(await controllerRevisions(app)).toHaveLength(3);
  expect(now.metadata.annotations["hullmark.dev/rolled-back"]).toMatch(new RegExp(`^${id.toString("hex")}/`));
  const unsynced = done("patch", "applications").filter((name) => name === app);
  expect(unsynced).toEqual(deed === "unsync" ? [app] : []);
}

/** What is to be taken back. */
async function doneFirst(own: LoneActuator, deed: Deed, app: string, pod: KubernetesPod | undefined): Promise<void> {
  if (deed !== "release" && deed !== "lift") return;
  const first = own.offer(await intentFor(UNDOES[deed], app, pod));
  own.start(app, settings());
  expect(await own.settled(first, WITHIN_MS)).toMatchObject({ outcome: Outcome.DONE });
  await own.ended("SIGTERM");
}

/** Each has a verifier and a state of its own: they are killed one by one, and the API server once. */
describe("killed, and the API server with it, and started again", () => {
  const killed = new Map<string, Killed>();

  const kill = async ({ deed, app, failpoint, kind }: Case): Promise<void> => {
    const own = await LoneActuator.open({ cluster: CLUSTER }, bed.env);
    const before = ofNode({ deed }) ? undefined : await podOf(app);
    await doneFirst(own, deed, app, before);
    const id = own.offer(await intentFor(deed, app, before, kind));
    own.start(app, settings(), failpoint);
    const late = new AbortController();
    const by = await Promise.race([own.ended(), delay(WITHIN_MS, null, { signal: late.signal })]);
    late.abort();
    killed.set(app, { actuator: own, id, before, by });
  };

  beforeAll(async () => {
    const left = [...AT_ONCE];
    const work = async (): Promise<void> => {
      for (let next = left.shift(); next; next = left.shift()) await kill(next);
    };
    await Promise.all(Array.from({ length: TOGETHER }, work));
    await cluster.services.apiserver.kill();
    for (const [app, { actuator: own }] of killed) own.start(app, settings());
    // They have asked it in vain by then, and go on asking.
    await delay(5000);
    await cluster.services.apiserver.start();
  }, 600_000);

  afterAll(async () => {
    for (const { actuator: own } of killed.values()) await own.close();
  });

  test.each(AT_ONCE)("$app: once, and told", { timeout: 600_000 }, async (each) => {
    const { app, deed } = each;
    const { actuator: own, id, before, by } = killed.get(app) ?? {};
    if (!own || !id) throw new Error("not begun");
    // A place that is not passed would leave it running.
    expect(by).toBe("SIGKILL");
    const { outcome, reason, detail } = await own.settled(id, WITHIN_MS);
    expect({ outcome, reason, detail }).toEqual({ outcome: Outcome.DONE, reason: "", detail: expect.anything() });
    if (before) await expectDone(each, id, before);
    else if (deed === "lift") await expectLifted(app);
    else await expectMarked(app);
    expect(own.taken(app)).toHaveLength(deed in UNDOES ? 2 : 1);
    await own.ended("SIGTERM");
  });
});

/** Each has a verifier and a state of its own, and a gate: it hears of no write that it was carried out, and goes on. */
describe("the answers to its writes do not come", () => {
  interface Begun {
    readonly actuator: LoneActuator;
    readonly before: KubernetesPod | undefined;
    readonly gate: ApiGate;
    readonly id: Buffer;
  }
  const begun = new Map<string, Begun>();
  const dead = Promise.withResolvers<void>();
  /** Of those upon whose writes the API server is killed. */
  let held = 0;

  async function open({ deed, app, losing, killed }: Unheard): Promise<Omit<Begun, "id">> {
    const own = await LoneActuator.open({ cluster: CLUSTER }, bed.env);
    const before = ofNode({ deed }) ? undefined : await podOf(app);
    await doneFirst(own, deed, app, before);
    const meanwhile = (): Promise<void> => {
      held++;
      return dead.promise;
    };
    const options = { access, ca: readFileSync(access.caFile), home: join(own.home, "gate"), losing };
    return { actuator: own, before, gate: await ApiGate.open({ ...options, ...(killed && { meanwhile }) }) };
  }

  beforeAll(async () => {
    const opened = await Promise.all(UNHEARD.map(async (each) => [each, await open(each)] as const));
    // There is one for all, and it is to be made while nobody hears of it.
    await kubectl("delete", "networkpolicies", "--all");
    const begin = async (those: typeof opened): Promise<void> => {
      for (const [{ deed, app, losing }, each] of those) {
        const id = each.actuator.offer(await intentFor(deed, app, each.before));
        begun.set(app, { ...each, id });
        each.actuator.start(app, settings({ ...each.gate.access, ...(losing.includes("create leases") && { lease: app }) }));
      }
    };
    await begin(opened.filter(([{ killed }]) => !killed));
    // Whatever carries a rollout on takes a minute to find an API server that was killed.
    for (const { actuator: own, id } of begun.values()) await own.settled(id, WITHIN_MS);
    await begin(opened.filter(([{ killed }]) => killed));
    await eventually(
      "the API server has carried all out",
      async () => held,
      (count) => count === UNHEARD.filter(({ killed }) => killed).length,
      WITHIN_MS,
    );
    await cluster.services.apiserver.kill();
    dead.resolve();
    await cluster.services.apiserver.start();
  }, 600_000);

  afterAll(async () => {
    dead.resolve();
    for (const { actuator: own, gate } of begun.values()) {
      await own.close();
      await gate.close();
    }
  });

  test.each(UNHEARD)("$app: once, and told", { timeout: 600_000 }, async ({ deed, app, losing }) => {
    const { actuator: own, before, gate, id } = begun.get(app) ?? {};
    if (!own || !gate || !id) throw new Error("not begun");
    const { outcome, reason, detail, marks } = await own.settled(id, WITHIN_MS);
    expect({ outcome, reason, detail }).toEqual({ outcome: Outcome.DONE, reason: "", detail: expect.anything() });
    expect(gate.lost.toSorted()).toEqual([...losing].sort());
    if (before) await expectDone({ deed, app }, id, before);
    else if (deed === "lift") await expectLifted(app);
    else await expectMarked(app);
    expect(await overOn(before?.metadata.name ?? app, deed)).toBe(before ? 1 : MARKS.length);
    expect(own.taken(app)).toHaveLength(deed in UNDOES ? 2 : 1);
    // It may be told again, and never otherwise.
    expect(
      new Set(
        own
          .told(id)
          .map(({ outcome: told }) => told)
          .filter((told) => told !== Outcome.WAITING),
      ),
    ).toEqual(new Set([Outcome.DONE]));
    if (!before) expect(marks).toEqual(MARKS);
    await own.ended("SIGTERM");
  });

  /** How many Events there are that say so, of all that were ever written: they are not counted together. */
  async function overOn(name: string, deed: Deed): Promise<number> {
    const { items } = await get<{ items: KubernetesEvent[] }>("events", `--field-selector=involvedObject.name=${name}`);
    return items.filter(({ reason }) => reason === OVER[deed]).length;
  }
});

async function expectMarked(app: string): Promise<void> {
  const { metadata, spec } = await get<{ metadata: { labels: object }; spec: { unschedulable?: boolean; taints: { key: string }[] } }>("node", app);
  expect(metadata.labels).toMatchObject({ "hullmark.dev/untrusted": "A-7K2Q" });
  expect(spec.unschedulable).toBe(true);
  expect(spec.taints.filter(({ key }) => key === "hullmark.dev/untrusted")).toHaveLength(1);
  expect(done("patch", "nodes").filter((name) => name === app)).toHaveLength(MARKS.length);
}

async function expectLifted(app: string): Promise<void> {
  const { metadata, spec } = await get<{ metadata: object; spec: { unschedulable?: boolean } }>("node", app);
  expect(JSON.stringify([metadata, spec])).not.toContain("hullmark.dev/");
  expect(spec.unschedulable).toBeUndefined();
  // Each put on once, and taken away once.
  expect(done("patch", "nodes").filter((name) => name === app)).toHaveLength(2 * MARKS.length);
}

test.each(LEASED)(
  "killed at $failpoint while a disruption budget is waited for: another takes the Lease, and ends it, once",
  { timeout: 600_000 },
  async (each) => {
    const { app, failpoint } = each;
    const budget = { apiVersion: "policy/v1", kind: "PodDisruptionBudget", metadata: { name: app } };
    await apply({ ...budget, spec: { minAvailable: 1, selector: { matchLabels: { app } } } });
    const before = await podOf(app);
    const id = actuator.offer(about(before, ActionKind.EVICT));
    actuator.start(app, settings({ lease: app }), failpoint);
    expect(await actuator.ended()).toBe("SIGKILL");
    const holder = (): Promise<string> => kubectl("get", "lease", app, `--namespace=${NAMESPACE}`, "--output=jsonpath={.spec.holderIdentity}");
    const [dead, reports] = [await holder(), actuator.told(id).length];
    actuator.start(app, settings({ lease: app }));
    await eventually(
      "it waits for the budget",
      async () => actuator.told(id).slice(reports),
      (all) => all.some(({ reason }) => reason === "pdb"),
      WITHIN_MS,
    );
    expect(await holder()).not.toBe(dead);
    await kubectl("delete", "poddisruptionbudget", app);
    expect(await actuator.settled(id, WITHIN_MS)).toMatchObject({ outcome: Outcome.DONE });
    await expectDone(each, id, before);
  },
);

test("a verifier that lies gets one pod, and no more than the limits of the actuator's own, of nodes too: not by replay, another's name, uid or digest, nor late, nor what others did undone", {
  timeout: 600_000,
}, async () => {
  const [prey, other] = await podsOf("prey");
  const bystander = await podOf("bystander");
  const [ownSet] = await replicaSets("prey");
  const [otherSet] = await replicaSets("bystander");
  if (!prey || !other || !ownSet || !otherSet) throw new Error("no pods");
  const evict = (pod: KubernetesPod, more: IntentInit = {}): IntentInit => about(pod, ActionKind.EVICT, more);
  const owner = ({ metadata }: ReplicaSet) => ({ kind: "ReplicaSet", name: metadata.name, uid: metadata.uid });
  const back = (podOwner: ReturnType<typeof owner>, name: string) => ({
    podOwner,
    revisions: [{ name, images: [{ container: "web", digest: second.digest }] }],
  });
  const nowMs = Date.now();
  const hour = { issuedAt: timestampFromMs(nowMs), expiresAt: timestampFromMs(nowMs + 3_600_000) };
  const past = { issuedAt: timestampFromMs(nowMs - 300_000), expiresAt: timestampFromMs(nowMs - 1) };
  const LIES: Readonly<Record<string, readonly [IntentInit, reason: string]>> = {
    "a name that is another pod's": [evict(prey, { podName: bystander.metadata.name }), "other-pod"],
    "another uid": [evict(prey, { podUid: other.metadata.uid }), "other-pod"],
    "another digest": [evict(prey, { podImageDigests: [second.digest] }), "other-image"],
    "a container of another pod": [evict(prey, { containerId: about(other, ActionKind.EVICT).containerId ?? "" }), "other-container"],
    "a pod of another node": [evict(prey, { podNode: "node-2" }), "on-other-node"],
    "Kubernetes' own": [evict(prey, { podNamespace: "kube-system" }), "protected"],
    "the actuator's own namespace": [evict(prey, { podNamespace: NAMESPACE }), "protected"],
    "one that is over": [evict(prey, past), "expired"],
    "one that never ends": [evict(prey, hour), "lifetime"],
    "another region's": [evict(prey, { region: "us-1" }), ""],
    "another cluster's": [evict(prey, { cluster: "test" }), ""],
    "a node that it may not mark": [markFor("node-1"), "protected"],
    "what only hosts do": [evict(prey, { kind: ActionKind.STOP }), "unknown-kind"],
    "a lift of marks that others put on": [liftFor("lift-lie"), "not-ours"],
    "a release from what others did": [about(other, ActionKind.RELEASE), "not-ours"],
    "a halt where none is allowed": [about(prey, ActionKind.HALT, { podOwner: owner(ownSet) }), "halt-not-allowed"],
    "a rollback of what did not make the pod": [about(prey, ActionKind.ROLLBACK, back(owner(otherSet), ownSet.metadata.name)), "other-owner"],
    "a rollback to another workload's revision": [about(prey, ActionKind.ROLLBACK, back(owner(ownSet), otherSet.metadata.name)), "no-earlier-revision"],
  };
  const node = (name: string, labels: object = {}, spec: object = {}) => ({ apiVersion: "v1", kind: "Node", metadata: { name, labels }, spec });
  const names = ["mark-lie-1", "mark-lie-2", "mark-lie-3"];
  await apply(...names.map((name) => node(name)), node("lift-lie", { "hullmark.dev/untrusted": "A-9999" }, { unschedulable: true }));
  await kubectl("label", "pod", other.metadata.name, "hullmark.dev/isolated=A-9999");
  // One at once, and two in an hour: the second waits for the first to be lifted, and the third in vain. Pods first: what was done to nodes counts for them.
  const [one, two, three] = names.map((name, i) => [name, `${i}`.repeat(16)] as const);
  if (!one || !two || !three) throw new Error("no nodes");
  const marking = (
    [
      [markFor(...one), ""],
      [markFor(...two), "breaker"],
      [liftFor(...one), ""],
      [markFor(...two), ""],
      [liftFor(...two), ""],
      [markFor(...three), "breaker"],
    ] as const
  ).map(([intent, reason]) => ({ reason, intent: { ...intent, id: randomBytes(16) } }));
  const lies = Object.entries(LIES).map(([what, [intent, reason]]) => ({ what, reason, id: randomBytes(16), intent }));
  const truth = { ...evict(prey), id: randomBytes(16) };
  // Within the breaker one more would be too many, and of the same service too soon.
  const [soon, more] = [
    { ...evict(other), id: randomBytes(16) },
    { ...evict(bystander), id: randomBytes(16) },
  ];
  const forged = actuator.signed(evict(bystander));
  const stranger = sign(null, intentMessage(forged.body), generateKeyPairSync("ed25519").privateKey);
  const replayed = actuator.signed(truth);
  actuator.offered.splice(
    0,
    actuator.offered.length,
    ...lies.map(({ id, intent }) => actuator.signed({ ...intent, id })),
    { body: forged.body, signatures: [stranger] },
    ...[replayed, replayed],
    ...[soon, more].map((each) => actuator.signed(each)),
    replayed,
    ...marking.map(({ intent }) => actuator.signed(intent)),
  );
  const nodes = { allow: ["mark-*", "lift-*"], hourly: 2, atOnce: 1 };
  const run = () => actuator.start("lied-to", { ...settings({ halt: false }, { hourlyPercent: 0 }), nodes });
  run();
  expect(await actuator.settled(truth.id, WITHIN_MS)).toMatchObject({ outcome: Outcome.DONE });
  expect(await actuator.settled(more.id, WITHIN_MS)).toMatchObject({ outcome: Outcome.REFUSED, reason: "breaker" });
  expect(await actuator.settled(soon.id)).toMatchObject({ outcome: Outcome.REFUSED, reason: "cooling-down" });
  const reasons = Object.fromEntries(lies.map(({ what, id }) => [what, actuator.told(id).at(-1)?.reason ?? ""]));
  expect(reasons).toEqual(Object.fromEntries(lies.map(({ what, reason }) => [what, reason])));
  const settled = await Promise.all(marking.map(({ intent }) => actuator.settled(intent.id, WITHIN_MS)));
  const wanted = marking.map(({ reason }) => ({ outcome: reason === "" ? Outcome.DONE : Outcome.REFUSED, reason }));
  expect(settled.map(({ outcome, reason }) => ({ outcome, reason }))).toEqual(wanted);
  // Once more, to another process.
  await actuator.ended("SIGTERM");
  const last = marking.at(-1)?.intent.id ?? truth.id;
  const reports = actuator.told(last).length;
  run();
  await eventually(
    "the last of it is told again",
    async () => actuator.told(last).length,
    (count) => count > reports,
    WITHIN_MS,
  );
  expect(done("create", "pods/eviction").filter((name) => /^(prey|bystander)-/.test(name))).toEqual([prey.metadata.name]);
  expect(done("patch", "deployments").filter((name) => /^(prey|bystander)$/.test(name))).toEqual([]);
  expect((await podOf("bystander")).metadata.uid).toBe(bystander.metadata.uid);
  expect((await podsOf("prey")).map(({ metadata }) => metadata.uid)).toContain(other.metadata.uid);
  expect((await get<{ metadata: { labels: object } }>("pod", other.metadata.name)).metadata.labels).toMatchObject({ "hullmark.dev/isolated": "A-9999" });
  for (const [name] of [one, two]) await expectLifted(name);
  expect(done("patch", "nodes").filter((name) => name === "mark-lie-3" || name === "lift-lie")).toEqual([]);
});

test("a rollback that is handed out again, when people have rolled out again too, is told again, and not done again", { timeout: 600_000 }, async () => {
  const rollOut = async (): Promise<void> => {
    await kubectl("set", "image", "deployment/bystander", `web=${second.tagged}`);
    await rolledOut("bystander");
  };
  await rollOut();
  const id = randomBytes(16);
  const replayed = actuator.signed({ ...(await intentFor("rollback", "bystander", await podOf("bystander"))), id });
  actuator.offered.splice(0, actuator.offered.length, replayed, replayed);
  actuator.start("replayed", settings());
  expect(await actuator.settled(id, WITHIN_MS)).toMatchObject({ outcome: Outcome.DONE });
  await rollOut();
  await actuator.ended("SIGTERM");
  const reports = actuator.told(id).length;
  actuator.start("replayed", settings());
  await eventually(
    "it is told again",
    async () => actuator.told(id).length,
    (count) => count >= reports + 2,
    WITHIN_MS,
  );
  expect(actuator.told(id).filter(({ outcome }) => outcome !== Outcome.DONE && outcome !== Outcome.WAITING)).toEqual([]);
  expect(done("patch", "deployments").filter((name) => name === "bystander")).toEqual(["bystander"]);
  expect((await get<Workload>("deployment", "bystander")).spec.template.spec.containers[0]?.image).toBe(second.tagged);
});
