/** The chart's own NetworkPolicies where kube-router enforces them: what Hullmark needs gets through, nothing else does, and without them everything would. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFailed, test } from "vitest";
import { tail } from "../../deploy/stack/stack.ts";
import { type Kubernetes, startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { believed, eventually, type ToldNode, type ToldWorkload } from "../e2e/fault-support.ts";
import { acceptanceImage } from "../e2e/images/acceptance.ts";
import { loadPrograms } from "../e2e/images/programs.ts";
import { pushImage } from "../e2e/images/push.ts";
import { CHART, chartHelm, chartSettings, shipImages } from "../e2e/kubernetes/chart-release.ts";
import { runPlugin } from "../e2e/kubernetes/plugin.ts";
import { taskPid } from "../e2e/kubernetes/pod-victim.ts";
import { pod } from "../e2e/kubernetes/workloads.ts";
import { Scrape } from "../fakes/scrape.ts";
import { connected, getThrough, inNetworkOf, packetFilter, ways } from "./reach.ts";

const NAMESPACE = "hullmark";
/** Everything that the verifier may listen on. */
const PORTS = { main: 7443, enrolment: 7444, admission: 7445, dashboard: 7446, people: 7447, http: 7480 } as const;
type Port = keyof typeof PORTS;
/** Agent and actuator listen on nothing: there a listener of the test's own stands for what somebody who got into them would open. */
const OPENED = 9999;
const WITHIN_MS = 240_000;

/** By what they are: what a policy lets each of them reach at the verifier. Of the API server nobody can say where it asks from. */
const LETS: Readonly<Record<string, readonly Port[]>> = {
  agent: ["main", "enrolment", "admission"],
  actuator: ["main", "admission"],
  prometheus: ["main", "admission", "dashboard", "people", "http"],
  "beside prometheus": ["admission"],
  "beside the verifier": ["admission"],
  stranger: ["admission"],
  "the host": ["main", "enrolment", "admission"],
};

interface Place {
  /** The pod's address. */
  readonly address: string;
  /** A process in the pod's network; none for the host's. */
  readonly pid: number | undefined;
}
interface FoundPod {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly status: { readonly podIP?: string; readonly containerStatuses?: readonly { readonly containerID?: string; readonly ready: boolean }[] };
}

const home = mkdtempSync(join(tmpdir(), "hullmark-chart-policies-"));
const listeners: ChildProcess[] = [];
let bed: Testbed;
let cluster: Kubernetes;
let verifier: Place;
const places = new Map<string, Place>();

const kubectl = (...args: string[]): Promise<string> => cluster.kubectl(args);
const plugin = (...args: string[]) => runPlugin(home, cluster.kubeconfig, args);
const upgrade = (...more: readonly string[]): Promise<string> =>
  chartHelm(cluster, home, [
    ...["upgrade", "--install", "hullmark", CHART, "--namespace", NAMESPACE, ...chartSettings(cluster, bed.registry?.host ?? "")],
    ...["--values", join(home, "values.yaml"), ...more, "--wait", "--timeout", "600s"],
  ]);

function values(): object {
  const prometheus = {
    namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "monitoring" } },
    podSelector: { matchLabels: { app: "prometheus" } },
  };
  return {
    verifier: { persistence: { enabled: false } },
    actuator: { enabled: true, persistence: { enabled: false } },
    admission: { enabled: true, failurePolicy: "Fail", timeoutSeconds: 30 },
    dashboard: { enabled: true },
    people: { enabled: true, config: { kubernetes: {} } },
    networkPolicy: { from: [prometheus], agents: [{ ipBlock: { cidr: `${cluster.network.hostAddress}/32` } }] },
  };
}

/** The one pod there of these labels, once it is ready. */
async function find(namespace: string, labels: string): Promise<Place> {
  const look = async (): Promise<readonly FoundPod[]> => {
    const { items } = JSON.parse(await kubectl("--namespace", namespace, "get", "pods", `--selector=${labels}`, "--output=json")) as { items: FoundPod[] };
    return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  };
  const isReady = ({ status }: FoundPod): boolean => status.podIP !== undefined && status.containerStatuses?.every(({ ready }) => ready) === true;
  const [found] = await eventually(`${labels} in ${namespace} is ready`, look, (all) => all.length === 1 && all.every(isReady), WITHIN_MS);
  const id = found?.status.containerStatuses?.[0]?.containerID?.replace("containerd://", "") ?? "";
  return { address: found?.status.podIP ?? "", pid: await taskPid(cluster, async () => id) };
}

/** Whoever connects is answered by nothing, and stays. */
async function listenIn({ pid }: Place): Promise<void> {
  const script = `require("node:net").createServer((socket) => socket.on("error", () => undefined)).listen(${OPENED}, () => console.log("listens"))`;
  const [file = "", ...args] = [...inNetworkOf(pid), process.execPath, "--eval", script];
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
  listeners.push(child);
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`the listener ended: ${code}`);
  });
  await Promise.race([once(child.stdout, "data"), ended]);
}

beforeAll(async () => {
  const [started, programs] = await Promise.all([
    startTestbed({ name: "chart-policies", parts: { kubernetes: true, registry: true, tpms: 1 } }),
    loadPrograms(),
  ]);
  bed = started;
  if (!bed.kubernetes || !bed.registry) throw new Error("no cluster");
  cluster = bed.kubernetes;
  await cluster.enforcePolicies();
  await shipImages(home, bed.registry.host);
  const image = (await pushImage(bed.registry.host, "acme/web", "1", acceptanceImage(programs))).tagged;
  writeFileSync(join(home, "values.yaml"), JSON.stringify(values()));
  for (const name of [NAMESPACE, "monitoring", "elsewhere"]) await kubectl("create", "namespace", name);
  await upgrade();
  const labelled = (name: string, namespace: string, app: string): object => {
    const made = pod(name, image);
    return { ...made, metadata: { ...made.metadata, namespace, labels: { app } } };
  };
  const items = [
    labelled("web", "default", "web"),
    labelled("prometheus", "monitoring", "prometheus"),
    labelled("beside", "monitoring", "other"),
    labelled("beside", NAMESPACE, "beside"),
    labelled("stranger", "elsewhere", "prometheus"),
  ];
  // Where the API server does not reach the verifier, it refuses them (failurePolicy): so it does until that has written its CA into the webhook.
  const list = JSON.stringify({ apiVersion: "v1", kind: "List", items });
  await eventually(
    "the API server takes pods",
    () => cluster.kubectl(["apply", "--filename=-"], list),
    () => true,
    WITHIN_MS,
  );
  const component = (name: string): Promise<Place> => find(NAMESPACE, `app.kubernetes.io/component=${name}`);
  verifier = await component("verifier");
  for (const [name, place] of [
    ["agent", component("agent")],
    ["actuator", component("actuator")],
    ["prometheus", find("monitoring", "app=prometheus")],
    ["beside prometheus", find("monitoring", "app=other")],
    ["beside the verifier", find(NAMESPACE, "app=beside")],
    ["stranger", find("elsewhere", "app=prometheus")],
  ] as const)
    places.set(name, await place);
  places.set("the host", { address: cluster.network.hostAddress, pid: undefined });
  await Promise.all(["agent", "actuator"].map((name) => listenIn(place(name))));
}, 1_800_000);

afterAll(async () => {
  for (const listener of listeners) listener.kill("SIGKILL");
  await bed?.down();
  rmSync(home, { recursive: true, force: true });
});

function place(name: string): Place {
  const found = places.get(name);
  if (!found) throw new Error(`no ${name}`);
  return found;
}

const toVerifier = (from: string, port: Port): string => `${from} to verifier ${port}`;
const opened = (from: string, to: string): string => `${from} to ${to}`;
/** Everybody to everything, but for what never leaves a pod. */
const ALL = [
  ...Object.keys(LETS).flatMap((from) => (Object.keys(PORTS) as Port[]).map((port) => toVerifier(from, port))),
  ...["agent", "actuator"].flatMap((to) => [...Object.keys(LETS).filter((from) => from !== to), "verifier"].map((from) => opened(from, to))),
];
const LET = Object.entries(LETS).flatMap(([from, ports]) => ports.map((port) => toVerifier(from, port)));

const traffic = (): Promise<Readonly<Record<string, string>>> => {
  const from = (name: string): number | undefined => (name === "verifier" ? verifier : place(name)).pid;
  const verifierWays = Object.keys(LETS).flatMap((name) =>
    (Object.keys(PORTS) as Port[]).map((port) => [toVerifier(name, port), connected(from(name), verifier.address, PORTS[port])] as const),
  );
  const openedWays = ["agent", "actuator"].flatMap((to) =>
    [...Object.keys(LETS).filter((name) => name !== to), "verifier"].map(
      (name) => [opened(name, to), connected(from(name), place(to).address, OPENED)] as const,
    ),
  );
  return ways(Object.fromEntries([...verifierWays, ...openedWays]));
};
const lets = (what: string, wanted: readonly string[]) =>
  eventually(
    what,
    async () => getThrough(await traffic()).sort(),
    (seen) => seen.join() === [...wanted].sort().join(),
    WITHIN_MS,
  );

const scrape = async (): Promise<Scrape> =>
  Scrape.of(
    await kubectl(
      "--namespace=monitoring",
      "exec",
      "prometheus",
      "--",
      "busybox",
      "timeout",
      "5",
      "wget",
      "-q",
      "-O",
      "-",
      `http://${verifier.address}:${PORTS.http}/metrics`,
    ),
  );

async function tellOnFailure(): Promise<void> {
  for (const component of ["verifier", "agent", "actuator"]) {
    const logs = kubectl("--namespace", NAMESPACE, "logs", `--selector=app.kubernetes.io/component=${component}`, "--tail=40");
    console.error(`--- ${component}\n${await logs.catch(String)}`);
  }
  console.error(`--- kube-router\n${tail(join(bed.directory, "kubernetes/kube-router.log"), 40)}`);
  console.error(`--- ways\n${JSON.stringify(await traffic(), null, 1)}`);
  console.error(`--- packet filter\n${await packetFilter(cluster)}`);
}

test("agents are attested and workloads judged, the actuator listens, the API server asks about pods, Prometheus scrapes, and the plugin is answered", async () => {
  onTestFailed(tellOnFailure);
  const told = async <T>(...args: string[]): Promise<T> => JSON.parse((await plugin(...args, "--output=json")).stdout) as T;
  const nodes = await eventually(
    "the node is attested",
    () => told<ToldNode[]>("nodes"),
    (all) => all.length === 1 && all.every(({ connected: is, verdict }) => is && verdict !== "unknown"),
    WITHIN_MS,
  );
  expect(nodes.map(({ name }) => name)).toEqual([cluster.nodeName]);
  const names = ["default/web/web", "monitoring/prometheus/web", "elsewhere/stranger/web"];
  await eventually(
    "workloads are judged",
    async () => (await told<ToldWorkload[]>("workloads", "-A")).filter(({ container }) => names.includes(container.name)),
    (all) => all.length === names.length && all.every(believed),
    WITHIN_MS,
  );
  const scraped = await eventually("the actuator listens", scrape, (seen) => seen.value("hullmark_actuators") === 1, WITHIN_MS);
  expect(scraped.value("hullmark_nodes_connected")).toBe(1);
  expect(scraped.value("hullmark_admission_requests_total", { decision: "allowed" })).toBeGreaterThan(0);
});

test("nobody else reaches anything of Hullmark's; with the policies gone everybody does, and with them back nobody again", async () => {
  onTestFailed(tellOnFailure);
  await lets("what the policies let through", LET);
  await upgrade("--set", "networkPolicy.enabled=false");
  expect(await kubectl("--namespace", NAMESPACE, "get", "networkpolicies", "--output=name")).toBe("");
  await lets("everything without them", ALL);
  await upgrade();
  await lets("what the policies let through again", LET);
});

test("who joins anew under the policies is let in", async () => {
  onTestFailed(tellOnFailure);
  await kubectl("--namespace", NAMESPACE, "rollout", "restart", "daemonset/hullmark-agent", "deployment/hullmark-actuator");
  for (const what of ["daemonset/hullmark-agent", "deployment/hullmark-actuator"])
    await kubectl("--namespace", NAMESPACE, "rollout", "status", what, "--timeout=300s");
  const own = (
    await kubectl("--namespace", NAMESPACE, "get", "pods", "--selector=app.kubernetes.io/component=agent", "--output=jsonpath={.items[*].metadata.name}")
  ).split(" ");
  await eventually(
    "the new agent tells of itself",
    async () => JSON.parse((await plugin("workloads", "-A", "--output=json")).stdout) as ToldWorkload[],
    (all) => own.every((name) => all.some((each) => each.container.name === `${NAMESPACE}/${name}/agent` && believed(each))),
    WITHIN_MS,
  );
  await eventually("the actuator listens", scrape, (seen) => seen.value("hullmark_actuators") === 1, WITHIN_MS);
});
