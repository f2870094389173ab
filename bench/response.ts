/**
 * From the return of a write in a container to what is done about it, across processes: container → kernel → agent → verifier → actuator → engine or API server.
 *
 *   node bench/response.ts [--actions 200] [--baselines 20] [--pods [--crowd 10000]] [--json FILE]     as root
 *
 * Accepted: the engine's own event of the first thing that it does for the action (by its own clock), or a watch of pods that shows the evicted one with its end.
 * Recovered: the event of the new container's start, or a watch that shows the next pod ready. Beside it, what the runtime takes by itself: `docker restart -t 0`, and from
 * a pod's deletion by hand to the next one that is ready; and where the time until it is accepted goes, of the slowest one by one. One action at a time, so that none waits for another.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { run } from "../deploy/testbed/run.ts";
import { type ActedOn, actedOnDocker, actedOnPods, type Watched } from "./support/acted-on.ts";
import { type Accepted, type Stretches, stretchesOf, wordsOf } from "./support/action-steps.ts";
import { type ContainerHost, pathOf, startContainerHost } from "./support/container-host.ts";
import { percentile } from "./support/process-usage.ts";

const TARGET_P99_MS = 250;
const PATIENCE_MS = 120_000;
/** What policy's pause asks for between two actions on one service, and some. */
const PAUSE_MS = 65_000;

const policy = (rung: string): string => `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: bench }
spec:
  mode: enforce
  rules: [{ name: all, allow: { env: ["**"], args: true } }]
  intervals: { quote: 10s, heartbeat: 5s }
  response:
    pause: 1m
    hourlyPercent: 100
    rules: [{ name: victims, select: { workloads: ["victim-*", "*/victim-*"] }, ladder: { low: [${rung}], medium: [${rung}], high: [${rung}], critical: [${rung}] } }]
`;

const { values } = parseArgs({
  options: {
    actions: { type: "string", default: "200" },
    baselines: { type: "string", default: "20" },
    /** Pods of a Kubernetes node instead of containers of a Docker Engine. */
    pods: { type: "boolean", default: false },
    /** How many pods the cluster has besides: those that are to be counted for a limit. */
    crowd: { type: "string", default: "0" },
    json: { type: "string" },
  },
});
const actions = Number(values.actions);
const baselines = Number(values.baselines);

interface Times {
  readonly acceptedMs: number;
  readonly recoveredMs: number;
}

/** @returns milliseconds since 1970 at which the write returned */
async function write(host: ContainerHost, container: string, path: string): Promise<number> {
  const { argv, env } = host.exec(container, ["/usr/local/bin/hullmark-tool", "writes", path, "1", "0"]);
  return Number((await run(argv, env as Record<string, string>)).split(" ")[1]) / 1e6;
}

/** Both times, once the watch has them. @throws Error where it does not show them in time */
async function seen(watched: Watched): Promise<Times> {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(20)) {
    const { acceptedMs, recoveredMs } = watched();
    if (acceptedMs !== undefined && recoveredMs !== undefined) return { acceptedMs, recoveredMs };
  }
  throw new Error(`not acted on within ${PATIENCE_MS / 1000} s: ${JSON.stringify(watched())}`);
}

async function measure(host: ContainerHost, on: ActedOn): Promise<void> {
  const lastMs = new Map<string, number>();
  const all: Accepted[] = [];
  const recovered: number[] = [];
  for (let i = 0; i < actions; i++) {
    const victim = on.victims[i % on.victims.length] ?? "";
    await sleep(Math.max(0, (lastMs.get(victim) ?? 0) + PAUSE_MS - Date.now()));
    const { container, watched } = await on.follow(victim);
    const writtenMs = await write(host, container, pathOf(i));
    const times = await seen(watched);
    all.push({ container: host.told(container), writtenMs, acceptedMs: times.acceptedMs });
    recovered.push(times.recoveredMs - writtenMs);
    lastMs.set(victim, Date.now());
    await sleep(100);
  }
  const own: number[] = [];
  for (let i = 0; i < baselines; i++) own.push(await on.baseline(i, seen));
  const accepted = all.map(({ writtenMs, acceptedMs }) => acceptedMs - writtenMs);
  const stretches = await stretchesOf(all, host.channel, join(host.bed.directory, "actuator.log"));
  report(accepted, stretches, recovered, own);
}

function report(accepted: readonly number[], stretches: readonly Stretches[], recovered: readonly number[], own: readonly number[]): void {
  const words = (of: readonly number[]): string => {
    const at = (share: number): string => percentile([...of], share).toFixed(0);
    return `p50 ${at(0.5)} ms, p90 ${at(0.9)} ms, p99 ${at(0.99)} ms, slowest ${at(1)} ms`;
  };
  console.log(
    `write → action accepted by the ${values.pods ? "API server" : "engine"}, ${accepted.length} writes: ${words(accepted)} (target: p99 < ${TARGET_P99_MS} ms)`,
  );
  console.log(wordsOf(stretches));
  console.log(`write → the next one ${values.pods ? "ready" : "started"}: ${words(recovered)}`);
  console.log(`the same by hand (${values.pods ? "pod deleted → next one ready" : "docker restart -t 0 → started"}), ${own.length}: ${words(own)}`);
  console.log(`recovery, p50: ${(percentile([...recovered], 0.5) / percentile([...own], 0.5)).toFixed(2)} × by hand`);
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ bench: "response", pods: values.pods, accepted, stretches, recovered, own })}\n`);
}

const host = await startContainerHost("bench-response", policy(values.pods ? "evict" : "recreate"), values.pods ? "kubernetes" : "docker", true);
let on: ActedOn | undefined;
try {
  on = await (values.pods ? actedOnPods(host, actions, Number(values.crowd)) : actedOnDocker(host, actions, baselines));
  await measure(host, on);
} finally {
  await on?.end();
  await host.down();
}
