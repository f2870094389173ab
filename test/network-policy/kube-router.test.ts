/** What isolation does to real traffic where kube-router enforces NetworkPolicies. */
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFailed, test } from "vitest";
import { type Stack, startStack, tail } from "../../deploy/stack/stack.ts";
import { type Kubernetes, startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { program } from "../../deploy/testbed/paths.ts";
import { run } from "../../deploy/testbed/run.ts";
import { believed, drifts, eventually, workloads } from "../e2e/fault-support.ts";
import { acceptanceImage } from "../e2e/images/acceptance.ts";
import { loadPrograms } from "../e2e/images/programs.ts";
import { pushImage } from "../e2e/images/push.ts";
import { Acting, steadyClient, WITHIN_MS } from "../e2e/kubernetes/acting.ts";
import { podFollower } from "../e2e/kubernetes/follower.ts";
import { ISOLATING } from "../e2e/kubernetes/isolations.ts";
import { podSpec, SERVING } from "../e2e/kubernetes/workloads.ts";
import { fetched, fetching, getThrough, packetFilter, ways } from "./reach.ts";

/** The policy isolates what is called so. */
const APP = "isolate-net";
const PORT = 8080;
/** A connection over which nothing has come for so long is cut: otherwise something comes each second. */
const SILENT_MS = 10_000;

const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: network-policy }
spec:
  mode: enforce
  rules:
    - { name: everything, allow: { env: ["**"], args: true } }
  intervals: { quote: 10s, heartbeat: 2s, rescan: 60s }
  response:
    pause: 1m
    hourlyPercent: 100
    rules:${ISOLATING}`;

interface Connection {
  /** That came so far. */
  lines(): number;
  /** Since the last one. */
  silentMs(): number;
  close(): void;
}

const home = mkdtempSync(join(tmpdir(), "hullmark-network-policy-"));
let bed: Testbed;
let cluster: Kubernetes;
let stack: Stack;
let acting: Acting;
let client: ReturnType<typeof steadyClient>;
let isolated = "";
let neighbour = "";
const addresses = new Map<string, string>();

const statusOf = (name: string, field: string): Promise<string> => acting.kubectl("get", "pod", name, `--output=jsonpath={.status.${field}}`);
const web = (name: string): string => `http://${addresses.get(name)}:${PORT}/`;

beforeAll(async () => {
  const [started, programs] = await Promise.all([
    startTestbed({ name: "network-policy", parts: { kubernetes: true, registry: true, tpms: 1 } }),
    loadPrograms(),
  ]);
  bed = started;
  if (!bed.kubernetes) throw new Error("no cluster");
  cluster = bed.kubernetes;
  const image = (await pushImage(bed.registry?.host ?? "", "acme/web", "1", acceptanceImage(programs))).tagged;
  stack = await startStack({ bed, policy: POLICY, kubernetes: { ...(await podFollower(cluster, home)), pods: { graceSeconds: 30 } } });
  acting = await Acting.start({ bed, cluster, stack, programs, image }, { networkPolicyEnforced: true });
  await cluster.enforcePolicies();
  const template = { metadata: { labels: { app: APP } }, spec: podSpec(image, { container: { readinessProbe: SERVING.readinessProbe } }) };
  const spec = { replicas: 2, selector: { matchLabels: { app: APP } }, template };
  await acting.apply({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: APP }, spec });
  await acting.kubectl("rollout", "status", `deployment/${APP}`, "--timeout=240s");
  for (const { metadata } of await acting.podsOf(APP)) addresses.set(metadata.name, await statusOf(metadata.name, "podIP"));
  [isolated = "", neighbour = ""] = addresses.keys();
  const names = [isolated, neighbour].map((name) => `default/${name}/web`);
  await eventually(
    "both pods are judged",
    async () => (await workloads(stack)).filter(({ container }) => names.includes(container.name)),
    (seen) => seen.length === 2 && seen.every(believed),
    WITHIN_MS,
  );
  client = steadyClient({ bed, cluster, stack, programs, image }, web(neighbour), (argv) => argv);
});

afterAll(async () => {
  client?.process.kill("SIGTERM");
  await acting?.stop().catch(() => undefined);
  await bed?.down();
  rmSync(home, { recursive: true, force: true });
});

/** What a pod has to say of an address. @throws Error where the pod cannot be asked */
const fromPod = (name: string, url: string): Promise<string> => acting.victim(name).sh(fetching(url));

/** Each way with what came of it. */
const traffic = (): Promise<Readonly<Record<string, string>>> =>
  ways({
    "its neighbour to it": fromPod(neighbour, web(isolated)),
    "it to its neighbour": fromPod(isolated, web(neighbour)),
    "it to what is outside": fromPod(isolated, `http://${bed.registry?.host}/v2/`),
    "what is outside to it": fetched(web(isolated)),
    "what is outside to its neighbour": fetched(web(neighbour)),
  });

async function incidentIs(wanted: string): Promise<void> {
  await eventually(
    `the incident is ${wanted}`,
    async () => (await stack.json<{ incidents: { path: string; state: string }[] }>("incident", "ls")).incidents,
    (all) => all.length === 1 && all[0]?.state === wanted,
    WITHIN_MS,
  );
}

/** How often the node's kubelet was answered that the pod is ready, by its own count. */
async function probes(): Promise<number> {
  const metrics = await acting.kubectl("get", "--raw", `/api/v1/nodes/${cluster.nodeName}/proxy/metrics/probes`);
  const own = metrics.split("\n").filter((line) => line.startsWith("prober_probe_total{") && line.includes(`pod="${isolated}"`));
  return own.reduce((sum, line) => sum + (line.includes('result="successful"') ? Number(line.split(" ").at(-1)) : 0), 0);
}

/** The isolated pod's own connection to the outside: a line each second. */
async function openConnection(): Promise<Connection> {
  const sockets: Socket[] = [];
  let [lines, lastMs] = [0, 0];
  const server = createServer((socket) => {
    sockets.push(socket.on("error", () => undefined));
    socket.on("data", (chunk) => {
      lines += chunk.toString().split("\n").length - 1;
      lastMs = Date.now();
    });
  });
  const { hostAddress } = cluster.network;
  await new Promise<void>((resolve) => server.listen(0, hostAddress, resolve));
  const { port } = server.address() as AddressInfo;
  await acting.victim(isolated).background("/bin/sh", "-c", `while echo beat; do sleep 1; done | nc ${hostAddress} ${port}`);
  const close = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { lines: () => lines, silentMs: () => Date.now() - lastMs, close };
}

async function moreLines({ lines }: Connection): Promise<void> {
  const before = lines();
  await eventually(
    "more comes over the connection",
    async () => lines() - before,
    (more) => more >= 3,
    WITHIN_MS,
  );
}

async function tellOnFailure(): Promise<void> {
  console.error(`--- drifts\n${JSON.stringify(await drifts(stack), null, 1)}`);
  for (const name of ["actuator", "verifier", "agent-0", "kubernetes/kube-router"])
    console.error(`--- ${name}\n${tail(join(bed.directory, `${name}.log`), 40)}`);
  console.error(`--- packet filter\n${await packetFilter(cluster)}`);
}

test("a pod that is isolated reaches nobody and is reached by nobody but its node, its neighbour serves on, and what was open lives on until its node forgets it", async () => {
  onTestFailed(tellOnFailure);
  const all = ["its neighbour to it", "it to its neighbour", "it to what is outside", "what is outside to it", "what is outside to its neighbour"];
  const lets = (wanted: readonly string[]) => eventually("what gets through", traffic, (seen) => getThrough(seen).join() === wanted.join(), WITHIN_MS);
  const connection = await openConnection();
  try {
    await moreLines(connection);
    await lets(all);
    expect(await drifts(stack)).toEqual([]);

    await acting.write(isolated);
    const done = (await acting.actionIs(isolated, "done", ({ state }) => state === "done")).find(({ state }) => state === "done");
    expect(done).toMatchObject({ kind: "isolate", reason: "" });
    await lets(["what is outside to its neighbour"]);
    await incidentIs("contained");

    // Its node's kubelet is let through, so it stays ready: Services go on sending to it.
    const before = await probes();
    await eventually("the kubelet asks on", probes, (count) => count >= before + 3, WITHIN_MS);
    expect(await statusOf(isolated, 'conditions[?(@.type=="Ready")].status')).toBe("True");

    // As docs/response.md says of kube-router: what is open it lets be, until the node's table of connections has it no more.
    await moreLines(connection);
    await run(cluster.namespace.wrap([program("conntrack"), "--delete", "--src", addresses.get(isolated) ?? ""]));
    await eventually(
      "nothing comes over it any more",
      async () => connection.silentMs(),
      (silentMs) => silentMs > SILENT_MS,
      WITHIN_MS,
    );

    expect((await stack.hullmark("action", "undo", done?.id ?? "", "-m", "a test of ours")).code).toBe(0);
    await lets(all);
    await incidentIs("open");
  } finally {
    connection.close();
    client.process.kill("SIGTERM");
  }
  const { sent, failures } = await client.told;
  expect(failures).toEqual([]);
  expect(sent).toBeGreaterThan(100);
});
