/**
 * What an agent costs while nothing happens: memory, processor, and bytes on the wire, by number of containers at rest.
 *
 *   node bench/idle.ts [--containers 0,20,110] [--seconds 60] [--json FILE]     as root
 *
 * Bytes are those of the agent's TCP connection as the kernel counts them (payload in both directions: TLS, HTTP/2 and gRPC included), the same processes all
 * the time: the slope over the number of containers is what an untouched container costs. Intervals are the default ones (heartbeat 10 s, quote 60 s).
 */
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { run } from "../deploy/testbed/run.ts";
import { type ContainerHost, startContainerHost } from "./support/container-host.ts";
import { cpuMs, mainThreadMs, memoryMb } from "./support/process-usage.ts";

/** What starting took is given back within half a minute. */
const SETTLE_MS = 30_000;
const POLICY = `apiVersion: hullmark.dev/v1
kind: Policy
metadata: { name: bench }
spec:
  mode: observe
  rules: [{ name: all, allow: { env: ["**"], args: true } }]
`;

const { values } = parseArgs({
  options: { containers: { type: "string", default: "0,20,110" }, seconds: { type: "string", default: "60" }, json: { type: "string" } },
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

async function measure(host: ContainerHost, containers: number) {
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

const host = await startContainerHost("bench-idle", POLICY);
try {
  const results: Awaited<ReturnType<typeof measure>>[] = [];
  let running = 0;
  for (const containers of values.containers.split(",").map(Number)) {
    await host.start(
      Array.from({ length: containers - running }, (_, i) => `rest-${running + i}`),
      [],
    );
    running = containers;
    await host.settled(containers, 300_000);
    await sleep(SETTLE_MS);
    const figures = await measure(host, containers);
    results.push(figures);
    console.log(
      `${String(containers).padStart(3)} containers at rest: agent RSS ${figures.rssMb.toFixed(1)} MB (highest ${figures.peakMb.toFixed(1)}), CPU ${(figures.cpuShare * 100).toFixed(2)} % (event loop ${(figures.loopShare * 100).toFixed(2)} %), ${figures.bytesAMinute.toFixed(0)} bytes a minute on the wire`,
    );
  }
  const [first, last] = [results[0], results.at(-1)];
  if (first && last && first !== last)
    console.log(`an untouched container: ${((last.bytesAMinute - first.bytesAMinute) / (last.containers - first.containers)).toFixed(1)} bytes a minute`);
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ bench: "idle", results })}\n`);
} finally {
  await host.down();
}
