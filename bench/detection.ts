/**
 * From the return of a write in a container to its committed drift row, across processes: container → kernel → agent → verifier → database.
 *
 *   node bench/detection.ts [--writes 500] [--gap-ms 120] [--neighbours 20] [--pods] [--json FILE]     as root
 *
 * Writes go to different files of a 13,000-file image, one each, so that each opens one drift. The writer prints CLOCK_REALTIME as write(2) returns; the end is
 * when a watcher of the verifier's drift stream, which tells of rows after they are durable, has the row in hand. Neighbours write all the while, and quotes run.
 */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Drift, Query } from "@hullmark/proto/v1/query";
import { type ContainerHost, FILES, pathOf, startContainerHost } from "./support/container-host.ts";
import { cpuMs, memoryMb, percentile } from "./support/process-usage.ts";

const TARGET_P99_MS = 100;
/** How long the last rows may take before they count as missed. */
const PATIENCE_MS = 10_000;
const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: bench }
spec:
  mode: observe
  rules: [{ name: all, allow: { env: ["**"], args: true } }]
  intervals: { quote: 10s, heartbeat: 5s }
`;

const { values } = parseArgs({
  options: {
    writes: { type: "string", default: "500" },
    "gap-ms": { type: "string", default: "120" },
    neighbours: { type: "string", default: "20" },
    /** Pods of a Kubernetes node instead of containers of a Docker Engine. */
    pods: { type: "boolean", default: false },
    json: { type: "string" },
  },
});
const writes = Number(values.writes);

interface Row {
  readonly receivedMs: number;
  readonly drift: Drift;
}

/** First row of each path, as the watcher got it. Ends with the signal. */
async function watch({ channel, told }: ContainerHost, rows: Map<string, Row>, signal: AbortSignal): Promise<void> {
  try {
    for await (const { drift } of channel.client(Query).watchDrift({ includeCurrent: false }, { signal })) {
      const receivedMs = performance.timeOrigin + performance.now();
      if (drift?.containerName !== told("victim")) continue;
      const path = Buffer.from(drift.path).toString();
      if (!rows.has(path)) rows.set(path, { receivedMs, drift });
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Writes once to each path, in the container. @returns milliseconds since 1970 at which each write returned */
async function write({ exec }: ContainerHost, paths: readonly string[]): Promise<number[]> {
  const script = `while read -r f; do /usr/local/bin/hullmark-tool writes "$f" 1 ${Number(values["gap-ms"]) * 1000}; done`;
  const { argv, env } = exec("victim", ["/bin/sh", "-c", script]);
  const child = spawn(argv[0] ?? "", argv.slice(1), { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.end(`${paths.join("\n")}\n`);
  const times: number[] = [];
  for await (const line of createInterface(child.stdout)) times.push(Number(line.split(" ")[1]) / 1e6);
  if (times.length !== paths.length) throw new Error(`${times.length} of ${paths.length} writes were done`);
  return times;
}

async function measure(host: ContainerHost): Promise<void> {
  const names = Array.from({ length: Number(values.neighbours) }, (_, i) => `neighbour-${i}`);
  await host.start(["victim"], []);
  await host.start(names, ["/usr/local/bin/hullmark-tool", "writes", "/var/out/log", "100000000", "500000"]);
  await host.settled((names.length + 1) * (values.pods ? 2 : 1), 120_000);
  const rows = new Map<string, Row>();
  const stop = new AbortController();
  const watching = watch(host, rows, stop.signal);
  await sleep(3000);
  const paths = Array.from({ length: writes }, (_, i) => pathOf(Math.floor((i * FILES) / writes)));
  const cpu = () => [cpuMs(host.agentPid), cpuMs(host.verifierPid)] as const;
  const before = cpu();
  const startedMs = performance.now();
  const times = await write(host, paths);
  const elapsedMs = performance.now() - startedMs;
  const after = cpu();
  for (const end = Date.now() + PATIENCE_MS; rows.size < paths.length && Date.now() < end; ) await sleep(100);
  stop.abort();
  await watching;
  report(paths, times, rows, { elapsedMs, agentMs: after[0] - before[0], verifierMs: after[1] - before[1] }, host);
}

function report(
  paths: readonly string[],
  times: readonly number[],
  rows: ReadonlyMap<string, Row>,
  used: Readonly<Record<"elapsedMs" | "agentMs" | "verifierMs", number>>,
  host: ContainerHost,
): void {
  const delays: number[] = [];
  let named = 0;
  for (const [i, path] of paths.entries()) {
    const row = rows.get(path);
    if (!row) continue;
    delays.push(row.receivedMs - (times[i] as number));
    if (row.drift.actor?.executable === "/usr/local/bin/hullmark-tool") named++;
  }
  const at = (share: number): number => percentile(delays, share);
  const share = (ms: number): string => `${((100 * ms) / used.elapsedMs).toFixed(1)} %`;
  console.log(
    `write → committed row in hand of a watcher, ${paths.length} writes, ${values.neighbours} neighbours writing: p50 ${at(0.5).toFixed(1)} ms, p90 ${at(0.9).toFixed(1)} ms, p99 ${at(0.99).toFixed(1)} ms, slowest ${at(1).toFixed(1)} ms (target: p99 < ${TARGET_P99_MS} ms); ${paths.length - delays.length} not seen`,
  );
  console.log(`culprit named: ${named} of ${delays.length}`);
  console.log(
    `meanwhile: agent ${share(used.agentMs)} CPU, RSS ${memoryMb(host.agentPid).rss.toFixed(0)} MB; verifier ${share(used.verifierMs)} CPU, RSS ${memoryMb(host.verifierPid).rss.toFixed(0)} MB`,
  );
  const figures = { p50Ms: at(0.5), p90Ms: at(0.9), p99Ms: at(0.99), maxMs: at(1), named, seen: delays.length };
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ bench: "detection", writes: paths.length, ...figures, ...used, delays })}\n`);
  if (delays.length < paths.length) process.exitCode = 1;
}

const host = await startContainerHost("bench-detection", POLICY, values.pods ? "kubernetes" : "docker");
try {
  await measure(host);
} finally {
  await host.down();
}
