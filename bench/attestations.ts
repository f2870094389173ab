/**
 * Attestations a second of one verifier process, as shipped (dist/verifier.js), on SQLite with synchronous=FULL and mutual TLS.
 *
 *   node bench/attestations.ts [--nodes 150,300,600] [--interval 3] [--seconds 20] [--containers 20] [--processes 2] [--cpu-prof DIR] [--json FILE]
 *
 * Simulated nodes in processes of their own are asked for a quote once an interval (seconds); each answers with a full report of its containers and a quote by its own key
 * over the fresh nonce. One counts when its report was acknowledged (durable) and its quote was accepted (its nonce is among the spent ones in the database).
 * The verifier asks, once an interval (seconds) while it has capacity: where fewer are counted than offered, it leaves nodes out, or the machine, which also runs
 * the nodes, has no more to give. "At 100 %" is what its event loop would do with a core of its own; --cpu-prof keeps profiles of the measured seconds alone.
 */
import { type ChildProcess, fork } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import Database from "better-sqlite3";
import { stringify } from "yaml";
import { freePort } from "../deploy/testbed/http-service.ts";
import { REPOSITORY, STATE_ROOT } from "../deploy/testbed/paths.ts";
import { type Daemon, startDaemon } from "../deploy/testbed/run.ts";
import { pushImage } from "../test/fakes/images.ts";
import { startFakeRegistry } from "../test/fakes/registry.ts";
import { fleetLayers } from "./support/fleet-image.ts";
import { cpuMs, mainThreadMs, memoryMb, percentile } from "./support/process-usage.ts";
import { Profiler } from "./support/profiler.ts";
import type { FleetOptions } from "./support/simulated-node.ts";
import type { Answer, Order } from "./support/simulated-nodes.ts";

const WARM_UP_MS = 3000;
/** How long the first attestations of all nodes may take: each brings rows and log entries that later ones do not. */
const FIRST_MS = 60_000;
const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "150,300,600" },
    interval: { type: "string", default: "3" },
    seconds: { type: "string", default: "20" },
    containers: { type: "string", default: "20" },
    processes: { type: "string", default: "2" },
    "cpu-prof": { type: "string" },
    json: { type: "string" },
  },
});

const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: bench }
spec:
  mode: observe
  rules: [{ name: all, allow: { env: ["**"] } }]
  intervals: { quote: ${values.interval}s, heartbeat: 60s }
`;

interface Figures {
  readonly nodes: number;
  readonly perSecond: number;
  readonly cpuMsEach: number;
  readonly loopMsEach: number;
  readonly loopShare: number;
  readonly generatorMsEach: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly rssMb: number;
  readonly peakMb: number;
  readonly reportBytes: number;
}

interface Verifier {
  readonly daemon: Daemon;
  readonly directory: string;
  /** Of its inspector, where profiles are wanted. */
  readonly inspectorPort: number | undefined;
  readonly addresses: Pick<FleetOptions, "mainAddress" | "enrolmentAddress" | "ca">;
}

async function startVerifier(directory: string, registryHost: string): Promise<Verifier> {
  const ports = { main: await freePort(), enrolment: await freePort(), http: await freePort() };
  const policyFile = join(directory, "policy.yaml");
  writeFileSync(policyFile, POLICY);
  const config = join(directory, "verifier.yaml");
  const settings = {
    stateDirectory: join(directory, "state"),
    verifierId: "bench",
    region: "bench",
    listen: { main: `127.0.0.1:${ports.main}`, enrolment: `127.0.0.1:${ports.enrolment}`, http: `127.0.0.1:${ports.http}` },
    enrolment: { mode: "tofu", acceptWithoutCertificate: true },
    registries: { plainHttp: [registryHost] },
    policyFile,
  };
  writeFileSync(config, stringify(settings));
  const inspectorPort = values["cpu-prof"] === undefined ? undefined : await freePort();
  const profile = inspectorPort === undefined ? [] : [`--inspect=127.0.0.1:${inspectorPort}`];
  const caFile = join(directory, "state/admin/ca.crt");
  const daemon = await startDaemon({
    name: "verifier",
    argv: [process.execPath, ...profile, join(REPOSITORY, "dist/verifier.js"), "--config", config],
    env: {},
    logPath: join(directory, "verifier.log"),
    ready: async () => existsSync(caFile) && (await fetch(`http://127.0.0.1:${ports.http}/readyz`)).ok,
  });
  const ca = readFileSync(caFile, "utf8");
  return { daemon, directory, inspectorPort, addresses: { mainAddress: `localhost:${ports.main}`, enrolmentAddress: `localhost:${ports.enrolment}`, ca } };
}

/** Sends one order to every process and waits for their answers. */
async function all(children: readonly ChildProcess[], orders: readonly Order[]): Promise<Answer[]> {
  const answers = children.map(
    (child) =>
      new Promise<Answer>((resolve, reject) => {
        child.once("message", (message) => resolve(message as Answer));
        child.once("exit", (code) => reject(new Error(`the simulated nodes ended with ${code}`)));
      }),
  );
  for (const [i, child] of children.entries()) child.send(orders[i] as Order);
  return await Promise.all(answers);
}

/** Nonces that accepted quotes have spent, as committed. */
function acceptedQuotes(database: Database.Database): number {
  return (database.prepare("SELECT count(*) AS n FROM nonces").get() as { n: number }).n;
}

async function measure(verifier: Verifier, children: readonly ChildProcess[], options: FleetOptions, nodes: number): Promise<Figures> {
  const pid = verifier.daemon.process.pid;
  const share = Math.ceil(nodes / children.length);
  await all(
    children,
    children.map((_, i): Order => ({ kind: "start", first: i * share, count: Math.min(share, nodes - i * share), options })),
  );
  const database = new Database(join(verifier.directory, "state/verifier.db"), { readonly: true });
  try {
    for (const end = Date.now() + FIRST_MS; acceptedQuotes(database) < 2 * nodes && Date.now() < end; ) await sleep(200);
    await sleep(WARM_UP_MS);
    const snapshot = () => ({
      atMs: performance.now(),
      quotes: acceptedQuotes(database),
      cpu: cpuMs(pid),
      loop: mainThreadMs(pid),
      generators: children.reduce((sum, child) => sum + cpuMs(child.pid as number), 0),
    });
    await all(
      children,
      children.map((): Order => ({ kind: "reset" })),
    );
    const profiler = verifier.inspectorPort === undefined ? undefined : await Profiler.start(verifier.inspectorPort);
    const before = snapshot();
    await sleep(Number(values.seconds) * 1000);
    const after = snapshot();
    if (values["cpu-prof"] !== undefined) mkdirSync(values["cpu-prof"], { recursive: true });
    await profiler?.stop(join(values["cpu-prof"] as string, `verifier-${nodes}.cpuprofile`));
    const answers = await all(
      children,
      children.map((): Order => ({ kind: "collect" })),
    );
    const collected = answers.flatMap((answer) => (answer.kind === "collected" ? [answer] : []));
    const failures = collected.flatMap((each) => each.failures);
    if (failures.length > 0) throw new Error(`${failures.length} nodes failed: ${failures[0]}`);
    const latencies = collected.flatMap((each) => [...each.latenciesMs]);
    const counted = Math.min(after.quotes - before.quotes, latencies.length);
    const elapsedMs = after.atMs - before.atMs;
    const { rss, peak } = memoryMb(pid);
    return {
      nodes,
      perSecond: counted / (elapsedMs / 1000),
      cpuMsEach: (after.cpu - before.cpu) / counted,
      loopMsEach: (after.loop - before.loop) / counted,
      loopShare: (after.loop - before.loop) / elapsedMs,
      generatorMsEach: (after.generators - before.generators) / counted,
      p50Ms: percentile(latencies, 0.5),
      p99Ms: percentile(latencies, 0.99),
      rssMb: rss,
      peakMb: peak,
      reportBytes: collected[0]?.reportBytes ?? 0,
    };
  } finally {
    database.close();
  }
}

/** A verifier on an empty state, its nodes, and both gone afterwards. */
async function round(nodes: number): Promise<Figures> {
  mkdirSync(join(STATE_ROOT, "bench"), { recursive: true });
  const directory = mkdtempSync(join(STATE_ROOT, "bench/attestations-"));
  const registry = await startFakeRegistry();
  const children: ChildProcess[] = [];
  let verifier: Verifier | undefined;
  try {
    const image = await pushImage(`${registry.host}/bench/web`, { layers: fleetLayers() });
    verifier = await startVerifier(directory, registry.host);
    for (let i = 0; i < Number(values.processes); i++)
      children.push(fork(join(import.meta.dirname, "support/simulated-nodes.ts"), { stdio: ["ignore", "inherit", "inherit", "ipc"] }));
    const options = {
      ...verifier.addresses,
      containers: Number(values.containers),
      image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
    };
    return await measure(verifier, children, options, nodes);
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await verifier?.daemon.stop();
    await registry.close();
    rmSync(directory, { recursive: true });
  }
}

const results: Figures[] = [];
for (const nodes of values.nodes.split(",").map(Number)) {
  const figures = await round(nodes);
  results.push(figures);
  const { perSecond, cpuMsEach, loopMsEach, loopShare, generatorMsEach, p50Ms, p99Ms, rssMb, peakMb, reportBytes } = figures;
  console.log(
    `${String(nodes).padStart(5)} nodes × ${values.containers} containers: ${perSecond.toFixed(0).padStart(5)} attestations/s of ${(nodes / Number(values.interval)).toFixed(0)} offered; verifier CPU ${cpuMsEach.toFixed(2)} ms each (event loop ${loopMsEach.toFixed(2)} ms, ${(loopShare * 100).toFixed(0)} % busy: ${(1000 / loopMsEach).toFixed(0)}/s at 100 %)`,
  );
  console.log(
    `      report → acknowledged p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms; RSS ${rssMb.toFixed(0)} MB (peak ${peakMb.toFixed(0)}); report ${reportBytes} bytes; nodes' own CPU ${generatorMsEach.toFixed(2)} ms each`,
  );
}
if (values.json) writeFileSync(values.json, `${JSON.stringify({ bench: "attestations", containers: Number(values.containers), results })}\n`);
