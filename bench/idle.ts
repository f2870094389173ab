/**
 * What an agent costs while nothing happens: memory, processor, and bytes on the wire, by number of containers at rest.
 *
 *   node bench/idle.ts [--runtime docker|cri|cri-events] [--containers 0,20,110] [--seconds 60] [--profile FILE] [--json FILE]     as root
 *
 * `cri`: pods told over Kubernetes' runtime interface, each of a container and its sandbox, by a server that is simulated and, as containerd 1.6, has to be asked for its list when its tasks begin and end; `cri-events`: by
 * one that tells events. Their processes, mounts and control groups are real. `--profile`: of the agent's event loop, during the last figures, for a browser's developer tools.
 *
 * Bytes are those of the agent's TCP connection as the kernel counts them (payload in both directions: TLS, HTTP/2 and gRPC included), the same processes all
 * the time: the slope over the number of containers is what an untouched container costs. Intervals are the default ones (heartbeat 10 s, quote 60 s).
 */
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { run } from "../deploy/testbed/run.ts";
import { type RestingHost, startContainerHost, startSimulatedHost } from "./support/container-host.ts";
import { cpuMs, mainThreadMs, memoryMb } from "./support/process-usage.ts";
import { Profiler } from "./support/profiler.ts";

/** What starting took is given back within half a minute. */
const SETTLE_MS = 30_000;
const INSPECTOR_PORT = 9229;
const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: bench }
spec:
  mode: observe
  rules: [{ name: all, allow: { env: ["**"], args: true } }]
`;

const { values } = parseArgs({
  options: {
    runtime: { type: "string", default: "docker" },
    containers: { type: "string", default: "0,20,110" },
    seconds: { type: "string", default: "60" },
    profile: { type: "string" },
    json: { type: "string" },
  },
});

/** Payload bytes of the process's established connections, sent and received. */
async function wireBytes(pid: number): Promise<number> {
  const output = await run(["ss", "-tinpHO", "state", "established"]);
  let total = 0;
  for (const line of output.split("\n").filter((each) => each.includes(`pid=${pid},`)))
    for (const [, bytes] of line.matchAll(/\bbytes_(?:sent|received):(\d+)/g)) total += Number(bytes);
  if (total === 0) throw new Error(`no connection of process ${pid}`);
  return total;
}

async function measure(host: RestingHost, containers: number) {
  const before = { cpu: cpuMs(host.agentPid), loop: mainThreadMs(host.agentPid), bytes: await wireBytes(host.agentPid), atMs: performance.now() };
  await sleep(Number(values.seconds) * 1000);
  const minutes = (performance.now() - before.atMs) / 60_000;
  const { rss, peak } = memoryMb(host.agentPid);
  return {
    containers,
    rssMb: rss,
    peakMb: peak,
    cpuShare: (cpuMs(host.agentPid) - before.cpu) / (minutes * 60_000),
    // The rest is mostly the thread that reads what changes on the whole node: it follows the machine's load, not that of the containers.
    loopShare: (mainThreadMs(host.agentPid) - before.loop) / (minutes * 60_000),
    bytesAMinute: ((await wireBytes(host.agentPid)) - before.bytes) / minutes,
  };
}

/** A Node process opens its inspector when it is sent SIGUSR1. */
async function profiled(pid: number): Promise<Profiler> {
  process.kill(pid, "SIGUSR1");
  await sleep(1000);
  return Profiler.start(INSPECTOR_PORT);
}

const { runtime } = values;
if (!["docker", "cri", "cri-events"].includes(runtime)) throw new Error(`--runtime ${runtime}: docker, cri or cri-events`);
const host = runtime === "docker" ? await startContainerHost("bench-idle", POLICY) : await startSimulatedHost("bench-idle", POLICY, runtime === "cri-events");
/** A pod is two containers: its sandbox is one. */
const CONTAINERS_EACH = runtime === "docker" ? 1 : 2;
try {
  const results: Awaited<ReturnType<typeof measure>>[] = [];
  let running = 0;
  const counts = values.containers.split(",").map(Number);
  for (const containers of counts) {
    await host.start(
      Array.from({ length: containers - running }, (_, i) => `rest-${running + i}`),
      [],
    );
    running = containers;
    await host.settled(containers * CONTAINERS_EACH, 300_000);
    await sleep(SETTLE_MS);
    const profiler = values.profile !== undefined && containers === counts.at(-1) ? await profiled(host.agentPid) : undefined;
    const figures = await measure(host, containers);
    if (values.profile !== undefined) await profiler?.stop(values.profile);
    results.push(figures);
    console.log(
      `${String(containers).padStart(3)} ${runtime === "docker" ? "containers" : "pods"} at rest: agent RSS ${figures.rssMb.toFixed(1)} MB (highest ${figures.peakMb.toFixed(1)}), CPU ${(figures.cpuShare * 100).toFixed(2)} % (event loop ${(figures.loopShare * 100).toFixed(2)} %), ${figures.bytesAMinute.toFixed(0)} bytes a minute on the wire`,
    );
  }
  const [first, last] = [results[0], results.at(-1)];
  if (first && last && first !== last)
    console.log(
      `an untouched ${runtime === "docker" ? "container" : "pod"}: ${((last.bytesAMinute - first.bytesAMinute) / (last.containers - first.containers)).toFixed(1)} bytes a minute`,
    );
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ bench: "idle", runtime, results })}\n`);
} finally {
  await host.down();
}
