/**
 * Attestations a second of one verifier process: simulated nodes, each with an attestation key of its own, over mutual TLS. Counted is what is fully
 * appraised and acknowledged as durable. One attestation is one Evidence that changes one file of one container; every `--quote-every` of them the node
 * also answers a fresh challenge.
 *
 *   node bench/attestations.ts [--nodes N] [--containers N] [--each N] [--window N] [--json FILE]
 *
 * Nodes run in this process, the verifier in its own: on few cores they compete, so the verifier's CPU seconds are told beside the rate.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { hash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { encodeRecord } from "@hullmark/proto/codec";
import { Attester, type ScriptedContainer } from "../test/fakes/attester.ts";
import { pushImage } from "../test/fakes/images.ts";
import { FakeQuoter } from "../test/fakes/quoter.ts";
import { startFakeRegistry } from "../test/fakes/registry.ts";
import { dockerInitLayer, LayerTree, MergedTree } from "../verifier/core/reference-value/index.ts";

const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "40" },
    containers: { type: "string", default: "20" },
    each: { type: "string", default: "100" },
    window: { type: "string", default: "4" },
    json: { type: "string" },
  },
});
const NODES = Number(values.nodes);
const CONTAINERS = Number(values.containers);
const EACH = Number(values.each);
const WINDOW = BigInt(values.window);
const TICKS_PER_SECOND = 100;

const directory = encodeRecord({ type: "d", mode: 0o755, uid: 0, gid: 0, xattrs: [], opaque: false });
const file = (content: string): Buffer =>
  encodeRecord({ type: "f", mode: 0o644, uid: 0, gid: 0, xattrs: [], size: BigInt(content.length), sha256: hash("sha256", content, "buffer") });

async function startProcess(folder: string): Promise<{ child: ChildProcess; mainPort: number; enrolmentPort: number }> {
  const listen = `{ main: "127.0.0.1:0", enrolment: "127.0.0.1:0", http: "127.0.0.1:0" }`;
  const config = join(folder, "v.yaml");
  writeFileSync(config, `stateDirectory: ${folder}/state\nverifierId: v1\nlisten: ${listen}\nenrolment: { mode: tofu, acceptWithoutCertificate: true }\n`);
  const child = spawn(process.execPath, [join(import.meta.dirname, "../verifier/main.ts"), "--config", config], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) {
    const message = JSON.parse(line) as { msg: string; mainPort: number; enrolmentPort: number };
    if (message.msg === "ready") return { child, ...message };
  }
  throw new Error("the verifier did not start");
}

/** CPU seconds of a process, and of its main thread. */
function cpuSeconds(pid: number): { all: number; main: number } {
  const read = (path: string): number => {
    const fields = readFileSync(path, "latin1").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  };
  return { all: read(`/proc/${pid}/stat`), main: read(`/proc/${pid}/task/${pid}/stat`) };
}

const folder = mkdtempSync(join(tmpdir(), "hullmark-bench-"));
const registry = await startFakeRegistry();
const { child, mainPort, enrolmentPort } = await startProcess(folder);
try {
  const image = await pushImage(`${registry.host}/acme/web`);
  const tree = LayerTree.build([
    { path: Buffer.from("etc"), record: directory, implied: true },
    { path: Buffer.from("etc/app.conf"), record: file("port=80\n"), implied: false },
  ]);
  const init = dockerInitLayer(MergedTree.of([tree]));
  const container = (node: number, i: number, upper: ReadonlyMap<string, Buffer>): ScriptedContainer => ({
    id: hash("sha256", `${node} ${i}`),
    name: `c${i}`,
    image: { reference: `${image.repository}:${image.tag}`, configDigest: image.configDigest },
    layers: [
      { id: "layer-0", tree },
      { id: `init-${i}`, tree: init, runtimeMade: true },
    ],
    upper,
  });

  const prepare = async (number: number): Promise<{ node: Attester; bodies: Buffer[] }> => {
    const ca = readFileSync(join(folder, "state/admin/ca.crt"));
    const addresses = { mainAddress: `localhost:${mainPort}`, enrolmentAddress: `localhost:${enrolmentPort}`, ca };
    const node = new Attester({ ...addresses, name: `n-${number}`, quoter: new FakeQuoter() });
    await node.connect();
    for (let i = 0; i < CONTAINERS; i++) node.set(container(number, i, new Map()));
    await node.report();
    const bodies = Array.from({ length: EACH }, (_, i) => {
      const changed = container(
        number,
        i % CONTAINERS,
        new Map([
          ["tmp", directory],
          ["tmp/x", file(`${i}`)],
        ]),
      );
      node.set(changed);
      return node.evidence([changed.id]);
    });
    return { node, bodies };
  };
  const nodes = [];
  for (let i = 0; i < NODES; i++) nodes.push(await prepare(i));
  await new Promise((resolve) => setTimeout(resolve, 2000));

  const latencies: number[] = [];
  const drive = async ({ node, bodies }: { node: Attester; bodies: Buffer[] }): Promise<void> => {
    const first = node.seq - BigInt(bodies.length) + 1n;
    const sentAt = new Map<bigint, number>();
    let sent = first;
    let acknowledged = first - 1n;
    while (acknowledged < node.seq) {
      while (sent <= node.seq && sent - acknowledged <= WINDOW) {
        sentAt.set(sent, performance.now());
        node.send({ case: "evidence", value: { body: bodies[Number(sent - first)] as Buffer } });
        sent++;
      }
      const { seq } = await node.next("acknowledgement");
      for (let at = acknowledged + 1n; at <= seq; at++) latencies.push(performance.now() - (sentAt.get(at) ?? 0));
      acknowledged = seq;
    }
  };
  const before = cpuSeconds(child.pid as number);
  const startedAt = performance.now();
  await Promise.all(nodes.map(drive));
  const seconds = (performance.now() - startedAt) / 1000;
  const after = cpuSeconds(child.pid as number);
  const total = NODES * EACH;
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => Number((latencies[Math.floor(latencies.length * share)] ?? 0).toFixed(1));
  const result = {
    machine: `${cpus()[0]?.model}, ${availableParallelism()} cores, Linux ${release()}`,
    nodes: NODES,
    containers: CONTAINERS,
    attestations: total,
    perSecond: Math.round(total / seconds),
    perMainThreadCpuSecond: Math.round(total / (after.main - before.main)),
    perCpuSecond: Math.round(total / (after.all - before.all)),
    acknowledgedMs: { p50: at(0.5), p99: at(0.99) },
    rssMegabytes: Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "latin1"))?.[1]) / 1024),
  };
  console.log(JSON.stringify(result, undefined, 2));
  if (values.json) writeFileSync(values.json, `${JSON.stringify(result)}\n`);
  for (const { node } of nodes) await node.close();
} finally {
  child.kill("SIGTERM");
  await new Promise((resolve) => child.once("exit", resolve));
  await registry.close();
  rmSync(folder, { recursive: true });
}
