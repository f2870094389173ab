/**
 * What Hullmark costs a cluster in which nothing happens: requests to the API server, by who asks; bytes between a node and the verifier; processor and memory. The chart and
 * the images are those that are shipped, the pods are real ones.
 *
 *   node bench/cluster-rest.ts [--pods 0,100] [--seconds 300] [--json FILE]     as root
 *
 * Requests are counted in the API server's own audit log, in which a watch counts when it begins: each is renewed every 290 s, so look for longer. Bytes are those of the agent's TCP connection as the kernel counts them.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs, promisify } from "node:util";
import { buildImages } from "../deploy/images/build.ts";
import { publish } from "../deploy/images/publish.ts";
import { type Kubernetes, startTestbed } from "../deploy/testbed/index.ts";
import { tool } from "../deploy/testbed/kubernetes/tools.ts";
import { run } from "../deploy/testbed/run.ts";
import { acceptanceImage } from "../test/e2e/images/acceptance.ts";
import { loadPrograms } from "../test/e2e/images/programs.ts";
import { pushImage } from "../test/e2e/images/push.ts";
import { pod } from "../test/e2e/kubernetes/workloads.ts";
import { cpuMs, memoryMb } from "./support/process-usage.ts";

const REPOSITORY = new URL("..", import.meta.url).pathname;
const NAMESPACE = "hullmark";
const AT_ONCE = 20;
/** What starting took is given back, and what it made the API server do is over. */
const SETTLE_MS = 60_000;

const { values } = parseArgs({
  options: { pods: { type: "string", default: "0,100" }, seconds: { type: "string", default: "300" }, json: { type: "string" } },
});

/** The process of the node whose command line ends so. */
function processOf(end: string): number {
  const found = readdirSync("/proc").filter((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, "latin1").split("\0").join(" ").trim().endsWith(end);
    } catch {
      return false;
    }
  });
  if (found.length !== 1) throw new Error(`${found.length} processes end in ${end}`);
  return Number(found[0]);
}

/** Payload bytes of the connections in the process's network namespace that are its own, both ways. */
async function wireBytes(pid: number): Promise<number> {
  const output = await run(["nsenter", `--net=/proc/${pid}/ns/net`, "ss", "-tinHO", "state", "established"]);
  return [...output.matchAll(/\bbytes_(?:sent|received):(\d+)/g)].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}

interface AuditEvent {
  readonly auditID: string;
  readonly stage: string;
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly resource?: string };
  readonly stageTimestamp: string;
}

/** Who asked what how often between two moments. */
function requests(path: string, fromMs: number, toMs: number): Map<string, number> {
  const seen = new Map<string, string>();
  for (const line of existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : []) {
    if (line === "") continue;
    const event = JSON.parse(line) as AuditEvent;
    const atMs = Date.parse(event.stageTimestamp);
    // A watch that ends was counted when it began.
    if (atMs < fromMs || atMs > toMs || (event.verb === "watch" && event.stage === "ResponseComplete")) continue;
    seen.set(event.auditID, `${event.user.username.split(":").at(-1)} ${event.verb} ${event.objectRef?.resource ?? "?"}`);
  }
  const counts = new Map<string, number>();
  for (const what of seen.values()) counts.set(what, (counts.get(what) ?? 0) + 1);
  return counts;
}

async function install(cluster: Kubernetes, registry: string, home: string): Promise<void> {
  const layout = join(home, "images");
  const images = await buildImages({ output: layout, cache: join(process.env["HULLMARK_STATE"] ?? join(REPOSITORY, ".hullmark"), "cache/debian") });
  await publish(images, { layout, registry: `${registry}/ship`, tag: "0.1.0", plainHttp: true });
  const settings = {
    "image.registry": `${registry}/ship`,
    "agent.runtime.rootDirectory": cluster.containerdRoot,
    "agent.runtime.otherContainers": "ignore",
    "verifier.registries.plainHttp": `{${registry}}`,
    "verifier.persistence.enabled": "false",
  };
  const sets = Object.entries(settings).flatMap(([name, value]) => ["--set", `${name}=${value}`]);
  const env = { ...process.env, KUBECONFIG: cluster.kubeconfig, HELM_CACHE_HOME: home, HELM_CONFIG_HOME: home, HELM_DATA_HOME: home };
  const chart = join(REPOSITORY, "deploy/helm/hullmark");
  await promisify(execFile)(
    tool("helm"),
    ["install", "hullmark", chart, "--namespace", NAMESPACE, "--create-namespace", ...sets, "--wait", "--timeout", "300s"],
    { env },
  );
}

async function startPods(cluster: Kubernetes, image: string, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += AT_ONCE) {
    const names = Array.from({ length: Math.min(AT_ONCE, to - at) }, (_, i) => `rest-${at + i}`);
    await cluster.kubectl(["apply", "--filename=-"], JSON.stringify({ apiVersion: "v1", kind: "List", items: names.map((name) => pod(name, image)) }));
    await cluster.kubectl(["wait", "--for=condition=Ready", "--timeout=600s", ...names.map((name) => `pod/${name}`)]);
  }
}

async function measure(cluster: Kubernetes, pods: number) {
  const [agent, verifier] = [processOf("--config /etc/hullmark/agent/agent.yaml"), processOf("--config /etc/hullmark/verifier/verifier.yaml")];
  const before = { agent: cpuMs(agent), verifier: cpuMs(verifier), bytes: await wireBytes(agent), atMs: Date.now() };
  await sleep(Number(values.seconds) * 1000);
  const [atMs, bytes] = [Date.now(), await wireBytes(agent)];
  const minutes = (atMs - before.atMs) / 60_000;
  const asked = [...requests(cluster.auditLog, before.atMs, atMs)].map(([what, count]) => ({ what, aMinute: count / minutes }));
  return {
    pods,
    minutes,
    requestsAMinute: asked.reduce((sum, { aMinute }) => sum + aMinute, 0),
    asked,
    bytesAMinute: (bytes - before.bytes) / minutes,
    agent: { rssMb: memoryMb(agent).rss, peakMb: memoryMb(agent).peak, cpuShare: (cpuMs(agent) - before.agent) / (minutes * 60_000) },
    verifier: { rssMb: memoryMb(verifier).rss, cpuShare: (cpuMs(verifier) - before.verifier) / (minutes * 60_000) },
  };
}

const home = mkdtempSync(join(tmpdir(), "hullmark-rest-"));
const bed = await startTestbed({ name: "bench-rest", parts: { kubernetes: { audited: [`system:serviceaccounts:${NAMESPACE}`] }, registry: true } });
try {
  const { kubernetes: cluster, registry } = bed;
  if (!cluster || !registry) throw new Error("no cluster");
  await install(cluster, registry.host, home);
  const image = await pushImage(registry.host, "acme/web", "1", acceptanceImage(await loadPrograms()));
  const results: Awaited<ReturnType<typeof measure>>[] = [];
  let running = 0;
  for (const pods of values.pods.split(",").map(Number)) {
    await startPods(cluster, image.reference, running, pods);
    running = pods;
    await sleep(SETTLE_MS);
    const figures = await measure(cluster, pods);
    results.push(figures);
    const { agent, verifier, asked } = figures;
    const share = (of: number): string => `${(of * 100).toFixed(2)} %`;
    console.log(
      `${String(pods).padStart(3)} pods at rest for ${figures.minutes.toFixed(1)} min: ${figures.requestsAMinute.toFixed(2)} API requests a minute (${asked.map(({ what, aMinute }) => `${what} ${aMinute.toFixed(2)}`).join(", ") || "none"}), ` +
        `${figures.bytesAMinute.toFixed(0)} bytes a minute; agent ${agent.rssMb.toFixed(1)} MB (highest ${agent.peakMb.toFixed(1)}), ${share(agent.cpuShare)} of a core; verifier ${verifier.rssMb.toFixed(1)} MB, ${share(verifier.cpuShare)}`,
    );
  }
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ bench: "cluster-rest", results })}\n`);
} finally {
  await bed.down();
  rmSync(home, { recursive: true, force: true });
}
