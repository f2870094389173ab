/** What is known of actions for longer than the day by which ladders count, on a real store: it outlives that day, and the verifier's restart. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { ActionKind, ActionState, Outcome } from "@hullmark/proto/v1/response";
import { openSqliteStore, type SqliteStore } from "@hullmark/verifier/adapters/sqlite/index";
import type { Policy } from "@hullmark/verifier/core/policy/types";
import { HISTORY_MS } from "@hullmark/verifier/core/response/decide";
import { ResponseEngine } from "@hullmark/verifier/core/response/index";
import type { ActionRow, NodeRow } from "@hullmark/verifier/ports/rows";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { committerOver } from "../fakes/committer.ts";
import { testNoteSigner } from "../fakes/note-signer.ts";
import { policyOf } from "../fakes/policy.ts";
import { action, drift, node, T0, workload } from "./store-fixtures.ts";

const NODE = "00112233445566aa";
const CONTAINER = "a".repeat(64);
const CONFIG = `sha256:${"1".repeat(64)}`;
const CHAIN = `sha256:${"c".repeat(64)}`;
const RUNG = ["recreate"];
const ladder = (rungs: readonly string[]) => ({ low: rungs, medium: rungs, high: rungs, critical: rungs });
const under = (rule: object): Policy => policyOf({ mode: "enforce", response: { hourlyPercent: 100, rules: [{ name: "all", ...rule }] } });
const signer = testNoteSigner();

let directory: string;
let sqlite: SqliteStore;
let policy: Policy;
let nowMs: number;
let nodes: Map<string, NodeRow>;
let issued: ActionRow[];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-lasting-"));
  sqlite = await openSqliteStore(join(directory, "verifier.db"));
  policy = under({ ladder: ladder(RUNG) });
  nowMs = T0;
  nodes = new Map([[NODE, node(NODE, { verdict: Verdict.AFFIRMING })]]);
  issued = [];
});
afterEach(async () => {
  await sqlite.close();
  rmSync(directory, { recursive: true });
});

/** A verifier that was started now. */
async function open(): Promise<ResponseEngine> {
  const engine = await ResponseEngine.open({
    ...{ samePerson: (a: string, b: string) => a === b, revokedSince: () => false, store: sqlite.store, committer: committerOver(sqlite.store) },
    ...{ nowMs: () => nowMs, verifierId: "v1", region: "eu-1", policy: () => policy, cluster: undefined, pod: () => "none" as const },
    ...{ node: (id: string) => nodes.get(id), nodes: () => [...nodes.values()], rollback: async () => undefined },
    ...{ layerChains: async () => (config: string) => (config === CONFIG ? [CHAIN] : []), intentKeys: () => [signer], passing: () => {} },
    ...{ random: (bytes: number) => randomBytes(bytes) },
    onProblem: (error: unknown) => {
      throw error;
    },
  });
  engine.connect(`node ${NODE}`, { push: (row) => issued.push(row), end: () => {} });
  return engine;
}

const stored = async (row: ActionRow): Promise<void> =>
  void (await sqlite.store.commit({ commits: [{ actions: [{ row, before: undefined }] }], log: undefined }));
/** The container as contradicted by one drift. */
async function drifted(committedAtMs = T0): Promise<void> {
  const bad = { verdict: Verdict.CONTRAINDICATED, content: Verdict.CONTRAINDICATED, reasons: [] };
  const open = { nodeId: NODE, containerId: CONTAINER, containerName: "web", state: DriftState.OPEN, severity: Severity.HIGH, committedAtMs };
  const row = workload(NODE, CONTAINER, { containerName: "web", workload: "", verdict: bad.verdict, appraised: bad });
  await sqlite.store.commit({ commits: [{ workloads: [row], drifts: [drift(1, open)] }], log: undefined });
}
const read = async (id: string): Promise<ActionRow | undefined> => await sqlite.store.readAction(id);
const OWN = { nodeId: NODE, containerId: CONTAINER, containerName: "web", workload: "", rule: "all", owners: [], approvalsNeeded: 0, approvals: [] };

describe("a layer that is not as signed after it was purged", () => {
  const PURGE = { chainId: CHAIN, layerIndex: 0, imageDigests: [CONFIG], containerIds: [] };
  const failed = action(1, {
    ...{ ...OWN, containerId: "", containerName: "", kind: ActionKind.PURGE, state: ActionState.FAILED, reason: "containment-failed" },
    ...{ createdAtMs: T0 - 60_000, settledAtMs: T0 - 50_000 },
    purge: { ...PURGE, purgedAtMs: T0 - 55_000 },
  });
  /** A container that stands on it was judged. */
  const measured = async (content: Verdict, appraisedAtMs: number): Promise<void> => {
    const appraised = { verdict: content, content, reasons: [] };
    await sqlite.store.commit({ commits: [{ workloads: [workload(NODE, CONTAINER, { configDigest: CONFIG, appraised, appraisedAtMs })] }], log: undefined });
  };

  test("is told, and keeps its page, for as long as it is so: after days, and after the verifier's restart", async () => {
    await stored(failed);
    for (const day of [0, 2, 30]) {
      nowMs = T0 + day * HISTORY_MS;
      const engine = await open();
      for (let tick = 0; tick < 3; tick++) await engine.tick();
      expect(engine.held()).toEqual({ "containment-failed": 1 });
      expect(engine.claims).toMatchObject([{ code: "containment-failed" }]);
      nowMs += 2 * HISTORY_MS;
      for (let tick = 0; tick < 3; tick++) await engine.tick();
      expect(engine.held()).toEqual({ "containment-failed": 1 });
      await engine.stop();
    }
  });

  test("is over once it is measured equal, and stays so when that container is gone", async () => {
    await stored(failed);
    await measured(Verdict.AFFIRMING, T0);
    const engine = await open();
    await engine.tick();
    expect([engine.held(), (await read(failed.id))?.purge?.wellAtMs]).toEqual([{}, T0]);
    await measured(Verdict.UNKNOWN, T0 + 1);
    await engine.tick();
    expect(engine.held()).toEqual({});
    await engine.stop();
    const again = await open();
    await again.tick();
    expect(again.held()).toEqual({});
    await again.stop();
  });

  test("is over when its node is revoked or forgotten, or it was purged anew; not when that is merely asked for, or comes to nothing", async () => {
    await stored(failed);
    const engine = await open();
    const revoked = node(NODE, { verdict: Verdict.CONTRAINDICATED, revokedAtMs: T0 });
    for (const [found, held] of [
      [revoked, 0],
      [undefined, 0],
      [node(NODE), 1],
    ] as const) {
      nodes = new Map(found ? [[NODE, found]] : []);
      await engine.tick();
      expect(engine.held()["containment-failed"] ?? 0).toBe(held);
    }
    await engine.stop();
    const anew = { ...failed, reason: "", createdAtMs: T0 - 40_000 };
    await stored({ ...anew, id: "A-2", number: 2, state: ActionState.DENIED, purge: PURGE });
    await stored({ ...anew, id: "A-3", number: 3, state: ActionState.REFUSED, purge: PURGE });
    const refused = await open();
    await refused.tick();
    expect(refused.held()).toEqual({ "containment-failed": 1 });
    await refused.stop();
    await stored({ ...anew, id: "A-4", number: 4, state: ActionState.DONE, purge: { ...PURGE, purgedAtMs: T0 } });
    const purged = await open();
    await purged.tick();
    expect(purged.held()).toEqual({});
    await purged.stop();
  });

  test("is over once people say that they took it off, though nothing tells any more that it is altered, and no image is known that stands on it", async () => {
    await stored(failed);
    const engine = await open();
    await engine.tick();
    expect((await engine.affected(NODE)).layers).toEqual([]);
    await expect(engine.purge(NODE, "0", "ada", "INC-1")).rejects.toMatchObject({ code: "NOT_PURGEABLE" });
    await expect(engine.purge(NODE, "1", "ada", "INC-1", true)).rejects.toMatchObject({ code: "NOT_PURGEABLE" });
    const purge = { ...PURGE, byHand: true, purgedAtMs: nowMs };
    const { id } = await engine.purge(NODE, "0", "ada", "INC-1", true);
    expect(await read(id)).toMatchObject({ state: ActionState.ISSUED, reason: "measuring", purge });
    await engine.tick();
    expect([engine.held(), engine.claims]).toEqual([{}, []]);
    nowMs += 2 * HISTORY_MS;
    for (let tick = 0; tick < 3; tick++) await engine.tick();
    expect([engine.held(), (await read(id))?.reason]).toEqual([{}, "not-measured"]);
    await engine.stop();
    const again = await open();
    await again.tick();
    expect(again.held()).toEqual({});
    await again.stop();
  });

  test("of an image's configuration stays about that image, also where people say that they took it off", async () => {
    await stored({ ...failed, driftId: "", purge: { ...PURGE, purgedAtMs: T0 - 55_000, configDigest: CONFIG } });
    const engine = await open();
    const { id } = await engine.purge(NODE, CHAIN, "ada", "INC-1", true);
    expect((await read(id))?.purge).toMatchObject({ chainId: CHAIN, configDigest: CONFIG, byHand: true });
    await engine.stop();
  });
});

describe("an action of which no report came in time", () => {
  const expired = (id: number) => {
    const intent = { id: Buffer.alloc(16, id), body: Buffer.from([0]), signatures: [Buffer.alloc(64)] };
    return action(id, { ...OWN, state: ActionState.EXPIRED, reason: "not-reported", intent, createdAtMs: T0, settledAtMs: T0 + 360_000 });
  };
  const report = { outcome: Outcome.DONE, reason: "", detail: "", newContainerId: "" };

  test("is as its report says, days after that, and after a restart; for a week", async () => {
    for (const id of [1, 2, 3]) await stored(expired(id));
    const engine = await open();
    nowMs = T0 + 3 * HISTORY_MS;
    await engine.tick();
    await engine.report(`node ${NODE}`, Buffer.alloc(16, 1), report);
    expect(await read("A-1")).toMatchObject({ state: ActionState.DONE, settledAtMs: nowMs });
    await engine.stop();
    const again = await open();
    await again.report(`node ${NODE}`, Buffer.alloc(16, 2), report);
    expect(await read("A-2")).toMatchObject({ state: ActionState.DONE });
    nowMs = T0 + 8 * HISTORY_MS;
    await again.tick();
    await expect(again.report(`node ${NODE}`, Buffer.alloc(16, 3), report)).rejects.toMatchObject({ code: "NOT_FOUND" });
    await again.stop();
  });

  test("counts in no ladder, and as no attempt, after a day", async () => {
    for (const id of [1, 2, 3]) await stored(expired(id));
    await drifted();
    const engine = await open();
    nowMs = T0 + 2 * HISTORY_MS;
    await engine.tick();
    await engine.reconsider();
    await expect.poll(() => issued.length, { timeout: 30_000 }).toBe(1);
    expect(issued).toMatchObject([{ kind: ActionKind.RECREATE, state: ActionState.ISSUED }]);
    await engine.stop();
  });
});

test("what three attempts came to nothing for is told for as long as it is so, with no page of the breaker's", async () => {
  const vain = { ...OWN, state: ActionState.FAILED, reason: "engine", settledAtMs: T0 };
  for (const id of [1, 2, 3]) await stored(action(id, { ...vain, createdAtMs: T0 }));
  await drifted();
  const engine = await open();
  nowMs = T0 + HISTORY_MS / 2;
  await engine.reconsider();
  await engine.tick();
  await engine.tick();
  expect(engine.held()).toEqual({ "given-up": 1 });
  expect(engine.claims).toMatchObject([{ code: "given-up", detail: "1 action is given up, and waits for people: hullmark action ls" }]);
  expect(issued).toEqual([]);
  engine.removed(NODE, CONTAINER);
  expect([engine.held(), engine.claims]).toEqual([{}, []]);
  await engine.stop();
});

describe("an undo that waits for a second person", () => {
  const asking = (more: object = {}) => under({ ladder: ladder(["isolate", "stop"]), approvalsFor: { release: 2 }, ...more });
  const isolation = action(1, { ...OWN, kind: ActionKind.ISOLATE, state: ActionState.DONE, createdAtMs: T0, issuedAtMs: T0, settledAtMs: T0 });

  /** One is asked for, of an isolated container. */
  async function asked(more: object = {}): Promise<{ readonly engine: ResponseEngine; readonly id: string }> {
    policy = asking(more);
    await stored(isolation);
    await drifted(T0 - 1000);
    const engine = await open();
    nowMs = T0 + 1000;
    const { id, state } = await engine.undo(isolation.id, "ada", "a test of ours");
    expect(state).toBe(ActionState.AWAITING);
    await engine.tick();
    expect(await read(id)).toMatchObject({ state: ActionState.AWAITING });
    nowMs = T0 + 3_600_000;
    return { engine, id };
  }
  const ended = async (engine: ResponseEngine, id: string, reason: string): Promise<void> => {
    await engine.tick();
    expect(await read(id)).toMatchObject({ state: ActionState.WITHDRAWN, reason });
  };

  test("stands in the way of nothing that has come since: it is withdrawn, and the next rung taken", async () => {
    const { engine, id } = await asked();
    await drifted(nowMs - 1000);
    await ended(engine, id, "another-action");
    await expect.poll(() => issued.map(({ kind }) => kind), { timeout: 30_000 }).toEqual([ActionKind.STOP]);
    await engine.stop();
  });

  test("nor of what is still as wrong after policy's time", async () => {
    const { engine, id } = await asked({ escalateAfter: "30m" });
    await ended(engine, id, "another-action");
    await expect.poll(() => issued.map(({ kind }) => kind), { timeout: 30_000 }).toEqual([ActionKind.STOP]);
    await engine.stop();
  });

  test("is not ended by an isolation that is asked for anew, where nothing was heard of the one that it undoes; by what has come since it is", async () => {
    policy = asking();
    await stored({ ...isolation, state: ActionState.EXPIRED });
    await drifted(T0 - 1000);
    const engine = await open();
    nowMs = T0 + 3_600_000;
    const { id } = await engine.undo(isolation.id, "ada", "a test of ours");
    await engine.tick();
    expect(await read(id)).toMatchObject({ state: ActionState.AWAITING });
    await drifted(nowMs + 1000);
    nowMs += 2000;
    await ended(engine, id, "another-action");
    await engine.stop();
  });

  test("waits while nothing else is due, and ends after a day", async () => {
    const { engine, id } = await asked();
    await engine.tick();
    expect(await read(id)).toMatchObject({ state: ActionState.AWAITING });
    nowMs = T0 + 2000 + HISTORY_MS;
    await ended(engine, id, "unanswered");
    expect(issued).toEqual([]);
    await engine.stop();
  });

  test("outlives its container: the pod is isolated with the one that was started anew in it, and one that is stopped is joined to its networks again", async () => {
    const { engine, id } = await asked();
    await sqlite.store.commit({ commits: [{ removedWorkloads: [{ nodeId: NODE, containerId: CONTAINER }] }], log: undefined });
    engine.removed(NODE, CONTAINER);
    await engine.tick();
    expect(await read(id)).toMatchObject({ state: ActionState.AWAITING });
    expect(await engine.approve(id, "bob")).toMatchObject({ kind: ActionKind.RELEASE, state: ActionState.ISSUED });
    await engine.stop();
  });

  test("ends with its node", async () => {
    const { engine, id } = await asked();
    nodes = new Map();
    await ended(engine, id, "gone");
    await engine.stop();
  });
});

test("a purge that waits for a second person ends with its node, and after a day", async () => {
  const PURGE = { chainId: CHAIN, layerIndex: 0, imageDigests: [CONFIG], containerIds: [] };
  const waits = { ...OWN, containerId: "", containerName: "", kind: ActionKind.PURGE, state: ActionState.AWAITING, approvalsNeeded: 2, createdAtMs: T0 };
  const asked = { ...waits, issuedAtMs: undefined, intent: undefined };
  await stored(action(1, { ...asked, purge: PURGE }));
  await stored(action(2, { ...asked, nodeId: "b".repeat(16), purge: PURGE }));
  const engine = await open();
  await engine.tick();
  expect([await read("A-1"), await read("A-2")]).toMatchObject([{ state: ActionState.AWAITING }, { state: ActionState.WITHDRAWN, reason: "gone" }]);
  nowMs = T0 + 1 + HISTORY_MS;
  await engine.tick();
  expect(await read("A-1")).toMatchObject({ state: ActionState.WITHDRAWN, reason: "unanswered" });
  await engine.stop();
});
