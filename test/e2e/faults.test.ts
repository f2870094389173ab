/** Programs that die and come back while containers are being changed: nothing is lost, and nothing is told twice. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, onTestFailed, test } from "vitest";
import { tail } from "../../deploy/stack/stack.ts";
import {
  believed,
  drifts,
  engineOf,
  eventually,
  type FaultBed,
  logEntries,
  nodes,
  startFaultBed,
  type ToldDrift,
  verifyLog,
  workloads,
} from "./fault-support.ts";
import { ACCEPTANCE } from "./images/acceptance.ts";
import type { DockerVictim } from "./scenarios.ts";

const SETTLE_MS = 60_000;
/** What the promise says: an attester that cannot know is shown as unknown within this time. */
const UNKNOWN_WITHIN_MS = 30_000;

let faults: FaultBed;
let web: DockerVictim;
/** Names of all series of files written so far → how many. */
const series = new Map<string, number>();

beforeAll(async () => {
  faults = await startFaultBed("faults", { engine: { config: { "live-restore": true } } });
  web = faults.victim("web");
  await web.docker("run", "-d", "--name", "web", faults.image.reference);
  await eventually(
    "the untouched container is clean",
    () => workloads(faults.stack),
    ([first]) => first !== undefined && believed(first),
    SETTLE_MS,
  );
});
afterAll(() => faults?.bed.down());

function logsOnFailure(): void {
  onTestFailed(() => {
    for (const name of ["agent-0", "verifier"]) console.error(`--- ${name}\n${tail(join(faults.bed.directory, `${name}.log`), 40)}`);
  });
}

/** Starts a series of new files and of lines at the end of a signed file; it goes on without the engine. */
async function write(name: string, count: number, pauseSeconds = 0.05): Promise<void> {
  series.set(name, count);
  const step = `echo ${name}-$i > /srv/${name}-$i; echo $i >> ${ACCEPTANCE.configFile}; sleep ${pauseSeconds}`;
  await web.background("/bin/sh", "-c", `i=0; while [ $i -lt ${count} ]; do ${step}; i=$((i+1)); done; echo done > /srv/${name}-done`);
}

const isWritten = ({ path }: ToldDrift): boolean => path.startsWith("/srv/") || path === ACCEPTANCE.configFile;

/** SHA-256 by path, as the container itself reads its files. */
async function contents(): Promise<ReadonlyMap<string, string>> {
  const globs = [...series.keys()].map((name) => `/srv/${name}-*`);
  const text = await web.sh(`sha256sum ${globs.join(" ")} ${ACCEPTANCE.configFile}`);
  return new Map(text.split("\n").map((line) => [line.slice(64).trim(), line.slice(0, 64)]));
}

/** One drift a path, open, with the digest that the file has now; one opening entry each in the log, and none that says resolved. */
async function nothingLostNothingTwice(): Promise<void> {
  const expected = [...series.values()].reduce((sum, count) => sum + count + 1, 1);
  const files = await eventually("everything is written", contents, ({ size }) => size === expected, SETTLE_MS);
  const observed = (drift: ToldDrift | undefined): string | undefined => drift?.differences.find(({ field }) => field === "sha256")?.observed;
  const untold = async (): Promise<string[]> => {
    const all = (await drifts(faults.stack)).filter(isWritten);
    const by = new Map(all.map((drift) => [drift.path, drift]));
    return [...files]
      .filter(([path, sha256]) => observed(by.get(path)) !== sha256)
      .map(([path, sha256]) => `${path}: ${sha256}, told ${by.get(path)?.summary}`);
  };
  await eventually("every path is told with its last content", untold, ({ length }) => length === 0, SETTLE_MS);
  const told = (await drifts(faults.stack)).filter(isWritten);
  expect(told.map(({ path }) => path).sort()).toEqual([...files.keys()].sort());
  expect(told.filter(({ state }) => state !== "open" && state !== "acknowledged")).toEqual([]);
  // A fault of the parts is no fault of the node's word.
  expect((await drifts(faults.stack)).filter(({ container }) => container.id === "")).toEqual([]);
  const openings = await eventually(
    "every drift is in the published log",
    async () => (await logEntries(faults.stack)).filter(({ type }) => type === "drift"),
    (entries) => told.every(({ id }) => entries.some((entry) => entry["id"] === id)),
  );
  const ids = new Set(told.map(({ id }) => id));
  const ofTold = openings.filter((entry) => ids.has(String(entry["id"])));
  expect(ofTold.filter(({ state }) => state === "resolved")).toEqual([]);
  // Later entries of one drift tell of other content; the first entry with its first content is there once.
  const first = new Map<string, number>();
  for (const entry of ofTold) {
    const key = JSON.stringify([entry["id"], entry["state"], entry["differences"]]);
    first.set(key, (first.get(key) ?? 0) + 1);
  }
  expect([...first].filter(([, count]) => count > 1)).toEqual([]);
  await verifyLog(faults.stack);
}

const node = async () => {
  const [first] = await nodes(faults.stack);
  if (!first) throw new Error("no node");
  return first;
};
const nodeBecomes = (what: string, holds: (told: Awaited<ReturnType<typeof node>>) => boolean, timeoutMs: number) => eventually(what, node, holds, timeoutMs);
const greenAgain = () => nodeBecomes("the node is believed again", believed, SETTLE_MS);

describe("killed in the middle", () => {
  test("the verifier, four times", async () => {
    logsOnFailure();
    await write("v", 60);
    for (let round = 0; round < 4; round++) {
      await sleep(300 + 250 * round);
      await faults.stack.verifier.kill();
      await faults.stack.verifier.start();
    }
    await nothingLostNothingTwice();
  });

  test("the agent, three times; an acknowledgement stands", async () => {
    logsOnFailure();
    const [known] = (await drifts(faults.stack)).filter(({ path }) => path === "/srv/v-0");
    const acknowledged = await faults.stack.hullmark("drift", "ack", known?.id ?? "", "-m", "seen");
    expect(acknowledged).toMatchObject({ code: 0 });
    await write("a", 60);
    for (let round = 0; round < 3; round++) {
      await sleep(1000 + 400 * round);
      await faults.stack.agents[0]?.kill();
      await faults.stack.agents[0]?.start();
    }
    await nothingLostNothingTwice();
    const [still] = (await drifts(faults.stack)).filter(({ id }) => id === known?.id);
    expect(still).toMatchObject({ state: "acknowledged", acknowledged: { reason: "seen" } });
  });

  test("both at once, twice", async () => {
    logsOnFailure();
    await write("b", 60);
    for (let round = 0; round < 2; round++) {
      await sleep(1200);
      await Promise.all([faults.stack.verifier.kill(), faults.stack.agents[0]?.kill()]);
      await faults.stack.agents[0]?.start();
      await sleep(300);
      await faults.stack.verifier.start();
    }
    await nothingLostNothingTwice();
  });

  test("the path between them, for 20 s", async () => {
    logsOnFailure();
    const { pid } = faults.stack.verifier.daemon().process;
    process.kill(pid, "SIGSTOP");
    try {
      await write("n", 60);
      await sleep(20_000);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await nothingLostNothingTwice();
    await greenAgain();
  });

  test("the engine, whose containers live on; the agent too meanwhile", async () => {
    logsOnFailure();
    const engine = engineOf(faults.bed);
    await write("e", 80);
    await sleep(500);
    await engine.kill();
    await nodeBecomes("the node without engine is unknown", ({ verdict }) => verdict === "unknown", UNKNOWN_WITHIN_MS);
    await faults.stack.agents[0]?.kill();
    await faults.stack.agents[0]?.start();
    await sleep(3000);
    await engine.start();
    await nothingLostNothingTwice();
    await greenAgain();
  });

  test("an engine that does not keep its containers: they and their drifts go off the lists", async () => {
    logsOnFailure();
    const engine = engineOf(faults.bed);
    const path = join(faults.bed.directory, "daemon.json");
    writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, "utf8")) as object), "live-restore": false }));
    await engine.kill();
    await engine.start();
    await eventually(
      "no container is listed",
      () => workloads(faults.stack),
      (all) => all.length === 0,
      SETTLE_MS,
    );
    expect((await drifts(faults.stack)).filter((drift) => isWritten(drift) && drift.state !== "resolved")).toEqual([]);
    await greenAgain();
    await verifyLog(faults.stack);
  });
});
