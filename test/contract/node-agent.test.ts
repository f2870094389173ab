/** The agent over containers that do not behave: one that cannot be looked at to the end never keeps the others from being seen. */
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create, fromBinary } from "@bufbuild/protobuf";
import { FileSpool } from "@hullmark/agent/adapters/file-spool/file-spool";
import { nodeFiles } from "@hullmark/agent/adapters/node-files/node-files";
import { nativeMeasurer } from "@hullmark/agent/adapters/tree/native-measurer";
import { codeInspection } from "@hullmark/agent/core/code-inspection";
import { NodeAgent } from "@hullmark/agent/core/node-agent";
import { NodeCondition } from "@hullmark/agent/core/node-state";
import type { ContainerRuntime } from "@hullmark/agent/ports/container-runtime";
import type { InspectedLook, ProcessInspector } from "@hullmark/agent/ports/process-inspector";
import type { LayerDirectory, RootLayout } from "@hullmark/agent/ports/root-filesystem";
import type { TreeMeasurer } from "@hullmark/agent/ports/tree-measurer";
import { EvidenceBodySchema, MeasurementPolicySchema } from "@hullmark/proto/v1/attestation";
import { applyEvidence, emptyMemory, type NodeMemory } from "@hullmark/verifier/core/appraisal/index";
import { expect, onTestFinished, test } from "vitest";
import { facts } from "../fakes/container-facts.ts";
import { scratch } from "../native/tree-support.ts";

/** Waits are a hundredth of what they are. */
const hundredth = {
  nowMs: () => Date.now(),
  sleep: (ms: number, signal: AbortSignal) => sleep(ms / 100, undefined, { signal }).catch(() => undefined),
};

const SCRUB_BYTES_PER_SECOND = 1000;

/** Containers whose looks the test answers. */
class Looks implements ProcessInspector {
  readonly open = new Map<string, ((found: InspectedLook) => void)[]>();
  /** Digest of what the others run now. */
  running = 1;
  hangs = new Set<string>();
  /** What stands for all that is looked at; undefined: nothing does. */
  signed: string | undefined;
  steady = true;
  /** Looks in full, and others. */
  inspected = 0;
  compared = 0;

  signature(): string | undefined {
    this.compared++;
    return this.signed;
  }

  inspect({ containerId }: { readonly containerId: string }): Promise<InspectedLook> {
    this.inspected++;
    if (!this.hangs.has(containerId)) return Promise.resolve(this.found());
    return new Promise((resolve) => this.open.set(containerId, [...(this.open.get(containerId) ?? []), resolve]));
  }

  found(): InspectedLook {
    const code = [{ place: "memfd" as const, path: Buffer.from("/memfd:x"), sha256: Buffer.alloc(32, this.running), main: true, pid: 7, uid: 0, ancestry: [] }];
    return { code, privileges: [], processes: 1, claims: [], steady: this.steady };
  }

  started(): void {}
  forget(): void {}
}

/** What the test makes of engine and measurer. */
interface Faults {
  readonly inspect?: (id: string) => Promise<void>;
  readonly rescan?: () => Promise<void>;
  /** Told how much was read again of one tree. */
  readonly scrub?: (hashedBytes: number) => void;
  /** Before a tree is measured. */
  readonly measure?: (path: string) => Promise<void>;
  readonly layers?: readonly LayerDirectory[];
  /** In place of time that is a hundredth of what it is. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<undefined>;
}

function failing(measurer: TreeMeasurer, { measure, rescan, scrub }: Faults): TreeMeasurer {
  const open: TreeMeasurer["open"] = async (path, options) => {
    const tree = await measurer.open(path, options);
    const first = tree.measure.bind(tree);
    const then = tree.rescan.bind(tree);
    const read = tree.scrub.bind(tree);
    return Object.assign(tree, {
      measure: (signal: AbortSignal) => Promise.resolve(measure?.(path)).then(() => first(signal)),
      rescan: (signal: AbortSignal) => Promise.resolve(rescan?.()).then(() => then(signal)),
      scrub: async (bytes: number, signal: AbortSignal) => {
        const report = await read(bytes, signal);
        scrub?.(report.hashedBytes);
        return report;
      },
    });
  };
  return { open };
}

function agentOver(ids: readonly string[], inspector: ProcessInspector, faults: Faults = {}) {
  const directory = scratch();
  const clock = { ...hundredth, ...(faults.sleep ? { sleep: faults.sleep } : {}) };
  const spool = new FileSpool({ directory, bootId: "boot" });
  const runtime: ContainerRuntime = {
    facts: async () => ({ name: "docker", version: "20.10", storageDriver: "overlay2", dialect: "docker", ownLayer: true }),
    list: async () => ids,
    stopped: async () => [],
    inspect: async (id) => {
      await faults.inspect?.(id);
      return facts({ id, name: `n-${id}` });
    },
    async *events(signal) {
      yield { kind: "connected", containerId: "" };
      await clock.sleep(1e9, signal);
    },
  };
  const upper = scratch();
  const layout: RootLayout = { kind: "overlay", layers: faults.layers ?? [], upperPath: upper, device: "0:50", oddOptions: [], mounts: [] };
  const stop = new AbortController();
  const condition = new NodeCondition({ agentVersion: "0", nodeName: "n", kernel: "6", architecture: "x86_64", missingCapabilities: [], agentDigests: {} });
  const agent = new NodeAgent({
    ...{
      runtime,
      spool,
      clock,
      condition,
      files: nodeFiles,
      measurer: failing(nativeMeasurer({ threads: 1 }), faults),
      code: codeInspection(inspector, clock),
    },
    ...{ rootFilesystem: { layout: async () => layout }, watcher: { watch: () => {}, unwatch: () => {} }, bootId: "boot", random: Math.random },
    ...{ randomKey: () => randomBytes(32), scrubBytesPerSecond: SCRUB_BYTES_PER_SECOND, spooled: () => {}, log: { info: () => {}, warn: () => {} } },
  });
  const tasks = [agent.followRuntime(stop.signal), agent.lookAround(stop.signal)];
  onTestFinished(async () => {
    stop.abort();
    await Promise.all(tasks);
    agent.close();
    spool.close();
  });
  agent.setPolicy(create(MeasurementPolicySchema, { digest: Buffer.alloc(32, 1) }));
  let memory: NodeMemory = emptyMemory("n", spool.head().chainId);
  /** What the verifier knows by now of a container's code: claims, and the digests' first bytes. */
  const told = (id: string): { claims: string[]; runs: (number | undefined)[] } | undefined => {
    for (const { body } of spool.after(memory.seq)) {
      const result = applyEvidence(memory, fromBinary(EvidenceBodySchema, body), body);
      if (!result.ok) throw new Error(result.detail);
      memory = result.memory;
    }
    const code = memory.containers.get(id)?.code;
    return code && { claims: code.claims.map((each) => each.code), runs: code.objects.map(({ sha256 }) => sha256[0]) };
  };
  /** Claims of the node itself that the verifier knows. */
  const claims = (): string[] => {
    told("");
    return memory.node?.claims.map(({ code, detail }) => `${code}: ${detail}`) ?? [];
  };
  /** Why its files are not known, by what the verifier knows. */
  const unmeasured = (id: string): string[] | undefined => {
    told(id);
    return memory.containers.get(id)?.filesystem.claims.map(({ code }) => code);
  };
  const measured = (id: string): boolean => unmeasured(id)?.length === 0;
  return { agent, spool, upper, told, claims, measured, unmeasured };
}

test("a container whose look does not end is claimed, from its start on; what the others run is told all the same", async () => {
  const looks = new Looks();
  looks.hangs.add("stuck");
  const { told } = agentOver(["stuck", "calm"], looks);
  await expect.poll(() => told("calm"), { timeout: 10_000 }).toEqual({ claims: [], runs: [1] });
  await expect.poll(() => told("stuck")).toEqual({ claims: ["unmeasurable"], runs: [] });
  looks.running = 2;
  await expect.poll(() => told("calm"), { timeout: 10_000 }).toEqual({ claims: [], runs: [2] });
  // One that begins to hang later, and one that comes back.
  looks.hangs = new Set(["calm"]);
  await expect.poll(() => told("calm"), { timeout: 10_000 }).toEqual({ claims: ["unmeasurable"], runs: [] });
  looks.running = 3;
  for (const answer of looks.open.get("stuck") ?? []) answer(looks.found());
  await expect.poll(() => told("stuck"), { timeout: 10_000 }).toEqual({ claims: [], runs: [3] });
});

test("once it is closed nothing is spooled, whatever is asked of it or is still under way", async () => {
  const { agent, spool, told } = agentOver(["calm"], new Looks());
  await expect.poll(() => told("calm"), { timeout: 10_000 }).toBeDefined();
  agent.requestFull();
  agent.close();
  const { seq } = spool.head();
  agent.requestFull();
  await sleep(50);
  expect(spool.head().seq).toBe(seq);
});

test("an old look is never told after a new one", async () => {
  const looks = new Looks();
  const { agent, told } = agentOver(["c"], looks);
  await expect.poll(() => told("c"), { timeout: 10_000 }).toEqual({ claims: [], runs: [1] });
  looks.hangs.add("c");
  await expect.poll(() => looks.open.get("c")?.length, { timeout: 10_000 }).toBe(1);
  const before = looks.found();
  // A process starts while that look is under way.
  looks.running = 2;
  void agent.processStarted("c");
  looks.hangs.clear();
  looks.open.get("c")?.[0]?.(before);
  await expect.poll(() => told("c"), { timeout: 10_000 }).toEqual({ claims: [], runs: [2] });
  expect(looks.open.get("c")).toHaveLength(1);
});

test("a container that cannot be inspected is a claim of the node until it answers; it is asked again", async () => {
  const failures = new Set(["deaf"]);
  let asked = 0;
  const { told, claims, measured, unmeasured } = agentOver(["deaf", "calm"], new Looks(), {
    inspect: async (id) => {
      if (id === "deaf") asked++;
      if (failures.has(id)) throw new Error("no answer");
    },
  });
  await expect.poll(claims, { timeout: 10_000 }).toContain("container-unanswered: 1 cannot be inspected: deaf; no answer");
  await expect.poll(() => unmeasured("deaf"), { timeout: 10_000 }).toEqual(["container-unanswered"]);
  await expect.poll(() => told("calm"), { timeout: 10_000 }).toEqual({ claims: [], runs: [1] });
  await expect.poll(() => asked, { timeout: 10_000 }).toBeGreaterThan(2);
  failures.clear();
  await expect.poll(claims, { timeout: 10_000 }).toEqual([]);
  await expect.poll(() => told("deaf"), { timeout: 10_000 }).toEqual({ claims: [], runs: [1] });
  await expect.poll(() => measured("deaf"), { timeout: 10_000 }).toBe(true);
});

test("many losses at once make one look at everything, and one more; a container that hangs holds up none of the others", async () => {
  const held: (() => void)[] = [];
  let rescans = 0;
  const { agent, measured } = agentOver(["a", "b", "c", "d", "e", "f"], new Looks(), {
    rescan: () => (++rescans === 1 ? new Promise<void>((resolve) => held.push(resolve)) : Promise.resolve()),
  });
  await expect.poll(() => ["a", "b", "c", "d", "e", "f"].every(measured), { timeout: 10_000 }).toBe(true);
  for (let i = 0; i < 20; i++) agent.eventsLost("queue full");
  // The first hangs; five go on, and then all six once more, of which the one that hangs waits for itself.
  await expect.poll(() => rescans, { timeout: 10_000 }).toBe(11);
  for (const resolve of held) resolve();
  await expect.poll(() => rescans, { timeout: 10_000 }).toBe(12);
});

test("what is read again in a period is what the rate says, however many trees share it: what small ones leave over a large one has", async () => {
  const [FILE, PERIOD_SECONDS, TREES] = [4096, 200, 9];
  const read: number[] = [];
  const layers = Array.from({ length: 7 }, (_, i) => ({ id: `layer-${i}`, path: scratch() }));
  // The largest is met first.
  for (const [i, { path }] of layers.entries()) for (let file = 0; file < (i === 0 ? 500 : 1); file++) writeFileSync(join(path, `${file}`), randomBytes(FILE));
  const { agent, measured } = agentOver(["a", "b"], new Looks(), { layers, scrub: (bytes) => read.push(bytes) });
  await expect.poll(() => ["a", "b"].every(measured), { timeout: 30_000 }).toBe(true);
  agent.setPolicy(create(MeasurementPolicySchema, { digest: Buffer.alloc(32, 1), rescanIntervalSeconds: PERIOD_SECONDS }));
  const stop = new AbortController();
  const running = agent.rescanPeriodically(stop.signal);
  await expect.poll(() => read.length, { timeout: 60_000 }).toBeGreaterThanOrEqual(TREES);
  stop.abort();
  await running;
  const period = read.slice(0, TREES);
  const [total, granted] = [period.reduce((sum, bytes) => sum + bytes, 0), PERIOD_SECONDS * SCRUB_BYTES_PER_SECOND];
  expect(total).toBeGreaterThan(0);
  // A file is read to its end.
  expect(total).toBeLessThanOrEqual(granted + FILE);
  // An equal share would be a ninth, half of it reckoned for opening files of this size; at worst two others wait for their turns when it has its own.
  expect(Math.max(...period)).toBeGreaterThan(granted / 8);
});

test("a policy that wants rescans sooner is followed at once, not after the wait that another began", async () => {
  let rescans = 0;
  // Of the period that no policy has set, nothing comes to an end.
  const sleep = (ms: number, signal: AbortSignal) => (ms > 60_000 ? once(signal) : hundredth.sleep(ms, signal));
  const once = (signal: AbortSignal) => new Promise<undefined>((resolve) => signal.addEventListener("abort", () => resolve(undefined)));
  const { agent, measured } = agentOver(["a"], new Looks(), { sleep, rescan: async () => void rescans++ });
  await expect.poll(() => measured("a"), { timeout: 10_000 }).toBe(true);
  const stop = new AbortController();
  const running = agent.rescanPeriodically(stop.signal);
  agent.setPolicy(create(MeasurementPolicySchema, { digest: Buffer.alloc(32, 2), rescanIntervalSeconds: 60 }));
  await expect.poll(() => rescans, { timeout: 10_000 }).toBeGreaterThan(0);
  stop.abort();
  await running;
});

test("a container is looked at in full where its signature moved, a program began or the last look left something open, and now and then in any case", async () => {
  const looks = new Looks();
  looks.signed = "as it is";
  const { agent, told } = agentOver(["c"], looks);
  /** Looks in full among the next sixty. */
  const inFull = async (): Promise<number> => {
    await expect.poll(() => told("c"), { timeout: 10_000 }).toEqual({ claims: [], runs: [looks.running] });
    const before = { inspected: looks.inspected, compared: looks.compared };
    await expect.poll(() => looks.compared - before.compared, { timeout: 60_000 }).toBeGreaterThanOrEqual(60);
    return looks.inspected - before.inspected;
  };
  // One of 30 to 60.
  expect(await inFull()).toBeLessThanOrEqual(4);
  await expect.poll(() => looks.inspected, { timeout: 60_000 }).toBeGreaterThan(2);
  looks.running = 2;
  looks.signed = "otherwise";
  expect(await inFull()).toBeLessThanOrEqual(4);
  // What began and ended meanwhile is in no signature.
  looks.running = 3;
  void agent.processStarted("c");
  await expect.poll(() => told("c"), { timeout: 10_000 }).toEqual({ claims: [], runs: [3] });
  looks.running = 4;
  expect(await inFull()).toBeLessThanOrEqual(4);
  for (const open of ["a look", "a signature"]) {
    if (open === "a look") looks.steady = false;
    else Object.assign(looks, { steady: true, signed: undefined });
    const before = looks.inspected;
    looks.running++;
    await expect.poll(() => looks.inspected, { timeout: 60_000 }).toBeGreaterThan(before + 20);
    expect(told("c"), open).toEqual({ claims: [], runs: [looks.running] });
  }
});

test("for a capture it is waited for what lies over the layers, and again when another policy wants it measured anew; until then, and where it is too large, that is said", async () => {
  const held = new Map<string, PromiseWithResolvers<void>>();
  const layer = { id: "layer", path: scratch() };
  const { agent, claims, upper, unmeasured } = agentOver(["web"], new Looks(), {
    layers: [layer],
    measure: (path) => {
      const turn = Promise.withResolvers<void>();
      held.set(path, turn);
      return turn.promise;
    },
  });
  const turn = async (path: string): Promise<void> => {
    await expect.poll(() => held.get(path), { timeout: 10_000 }).toBeDefined();
    held.get(path)?.resolve();
    held.delete(path);
  };
  writeFileSync(join(upper, "loot"), "stolen");
  let over = false;
  const settled = async (): Promise<void> => {
    await agent.settled("web", 6_000_000);
    over = true;
  };
  const first = settled();
  await turn(layer.path);
  await expect.poll(() => held.has(upper), { timeout: 10_000 }).toBe(true);
  expect(agent.measured("web")).toMatchObject({ place: undefined, problem: "what it changed is not all known: first measuring" });
  expect(over).toBe(false);
  await turn(upper);
  await first;
  expect(agent.measured("web")).toMatchObject({ place: { root: upper, tree: { size: 1 } }, problem: undefined });
  expect([claims(), unmeasured("web")]).toEqual([[], []]);

  over = false;
  agent.setPolicy(create(MeasurementPolicySchema, { digest: Buffer.alloc(32, 2), budget: { maxEntries: 1n } }));
  const again = settled();
  await expect.poll(() => held.has(upper), { timeout: 10_000 }).toBe(true);
  expect(agent.measured("web")).toMatchObject({ place: undefined, problem: "what it changed is not all known: it is being measured again" });
  expect(over).toBe(false);
  for (const name of ["1", "2"]) writeFileSync(join(upper, name), "");
  await turn(upper);
  await again;
  expect(agent.measured("web")?.problem).toMatch(/^what it changed is not all known: over budget/);
});

test("a container whose layers cannot be measured has no files that are known, whatever it writes then", async () => {
  const layer = { id: "layer", path: join(scratch(), "absent") };
  const { agent, upper, unmeasured } = agentOver(["web"], new Looks(), { layers: [layer] });
  await expect.poll(() => unmeasured("web"), { timeout: 10_000 }).toEqual(["unmeasurable"]);
  writeFileSync(join(upper, "loot"), "stolen");
  agent.changes([{ watchId: "upper/web", path: Buffer.from("loot"), actor: undefined, atMs: 0 }]);
  await sleep(100);
  expect(unmeasured("web")).toEqual(["unmeasurable"]);
  expect(agent.measured("web")).toMatchObject({ place: undefined, problem: expect.stringMatching(/^what it changed is not all known: /) });
});
