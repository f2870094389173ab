/** A purge ends by what is measured after it, and its node is lifted by the same: in that order, whatever ends the verifier between two steps. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { ActionKind, ActionState, NodeMark, Outcome } from "@hullmark/proto/v1/response";
import { openSqliteStore, type SqliteStore } from "@hullmark/verifier/adapters/sqlite/index";
import { RESPONSE_FAILPOINTS, ResponseEngine } from "@hullmark/verifier/core/response/index";
import type { ResponseFailpoint } from "@hullmark/verifier/core/response/services";
import type { ActionRow, NodeRow } from "@hullmark/verifier/ports/rows";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { action, drift, node, T0, workload } from "../contract/store-fixtures.ts";
import { committerOver } from "../fakes/committer.ts";
import { testNoteSigner } from "../fakes/note-signer.ts";
import { policyOf } from "../fakes/policy.ts";

const NODE = "00112233445566aa";
const CLUSTER = "default";
const CONTAINER = "a".repeat(64);
const CONFIG = `sha256:${"1".repeat(64)}`;
const CHAIN = `sha256:${"c".repeat(64)}`;
const PURGE = { chainId: CHAIN, layerIndex: 0, imageDigests: [CONFIG], containerIds: [] };
const WORKERS = { name: "workers", reasons: ["layer"], marks: ["cordon"], cluster: true, lift: "automatic" };
const policy = policyOf({ mode: "enforce", response: { nodes: { hourlyPercent: 100, atOncePercent: 100, rules: [WORKERS] } } });
const signer = testNoteSigner();
const KILLED = new Error("killed");

let directory: string;
let sqlite: SqliteStore;
let nowMs: number;
let found: NodeRow;
let passed: ResponseFailpoint[];
let handed: Set<string>;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-purge-end-"));
  sqlite = await openSqliteStore(join(directory, "verifier.db"));
  nowMs = T0;
  found = node(NODE, { verdict: Verdict.AFFIRMING });
  passed = [];
  handed = new Set();
});
afterEach(async () => {
  await sqlite.close();
  rmSync(directory, { recursive: true });
});

/** A verifier that was started now. @param killedAt where it goes no further */
async function open(killedAt?: ResponseFailpoint): Promise<ResponseEngine> {
  const engine = await ResponseEngine.open({
    ...{ samePerson: (a: string, b: string) => a === b, revokedSince: () => false, store: sqlite.store, committer: committerOver(sqlite.store) },
    ...{ nowMs: () => nowMs, verifierId: "v1", region: "eu-1", policy: () => policy, cluster: CLUSTER, pod: () => "none" as const },
    ...{ node: (id: string) => (id === NODE ? found : undefined), nodes: () => [found], rollback: async () => undefined },
    ...{ layerChains: async () => (config: string) => (config === CONFIG ? [CHAIN] : []), intentKeys: () => [signer] },
    ...{ random: (bytes: number) => randomBytes(bytes) },
    passing: (at) => {
      passed.push(at as ResponseFailpoint);
      if (at === killedAt) throw KILLED;
    },
    onProblem: (error: unknown) => {
      if (error !== KILLED) throw error;
    },
  });
  engine.connect(`cluster ${CLUSTER}`, { push: ({ id }) => handed.add(id), end: () => {} });
  return engine;
}

const stored = async (row: ActionRow): Promise<void> =>
  void (await sqlite.store.commit({ commits: [{ actions: [{ row, before: undefined }] }], log: undefined }));
const read = async (id: string): Promise<ActionRow | undefined> => await sqlite.store.readAction(id);
const lifts = async (): Promise<ActionRow[]> =>
  (await sqlite.store.listActions({ states: [], sinceMs: 0 }, { after: "", limit: 100 })).filter(({ kind }) => kind === ActionKind.LIFT_NODE);
/** A container that stands on it was judged. */
const measured = async (content: Verdict): Promise<void> => {
  const appraised = { verdict: content, content, reasons: [] };
  const row = workload(NODE, CONTAINER, { configDigest: CONFIG, containerName: "web", verdict: content, appraised, appraisedAtMs: nowMs });
  await sqlite.store.commit({ commits: [{ workloads: [row] }], log: undefined });
};

const OF_NODE = { nodeId: NODE, containerId: "", containerName: "", workload: "", approvalsNeeded: 0, approvals: [], owners: [] };
const failed = action(2, {
  ...{ ...OF_NODE, kind: ActionKind.PURGE, state: ActionState.FAILED, reason: "containment-failed", createdAtMs: T0 - 60_000, settledAtMs: T0 - 50_000 },
  purge: { ...PURGE, purgedAtMs: T0 - 55_000 },
});

describe("a layer that is measured equal after it was purged anew", () => {
  beforeEach(async () => {
    const marks = {
      marks: [NodeMark.CORDON],
      done: [NodeMark.CORDON],
      reason: "layer",
      actuator: { nodeId: "", name: `cluster ${CLUSTER}`, cluster: CLUSTER },
    };
    const long = { createdAtMs: T0 - 7_200_000, issuedAtMs: T0 - 7_200_000, settledAtMs: T0 - 7_200_000 };
    await stored(action(1, { ...OF_NODE, ...long, kind: ActionKind.MARK_NODE, state: ActionState.DONE, node: marks }));
    await stored(failed);
    const waits = { ...OF_NODE, kind: ActionKind.PURGE, state: ActionState.ISSUED, reason: "measuring", createdAtMs: T0 - 40_000, intent: undefined };
    await stored(action(3, { ...waits, purge: { ...PURGE, purgedAtMs: T0 - 40_000, byHand: true } }));
    const own = { nodeId: NODE, place: "layer", kind: "content", severity: Severity.CRITICAL, layerIndex: 0, configDigest: CONFIG };
    const gone = drift(1, { ...own, state: DriftState.RESOLVED, committedAtMs: T0 - 52_000, resolvedAtMs: T0 - 45_000 });
    await sqlite.store.commit({ commits: [{ drifts: [gone] }], log: undefined });
  });

  const isLifted = async (): Promise<void> => {
    await expect.poll(async () => (await lifts()).map(({ state, id }) => [state, handed.has(id)]), { timeout: 30_000 }).toEqual([[ActionState.ISSUED, true]]);
    expect(await read("A-3")).toMatchObject({ state: ActionState.DONE, reason: "" });
  };

  test("ends its purge, then the marks", async () => {
    const engine = await open();
    await engine.reconsider();
    await engine.tick();
    expect([await lifts(), engine.claims.map(({ code }) => code)]).toEqual([[], ["not-measured"]]);
    await measured(Verdict.AFFIRMING);
    engine.touched(NODE, CONTAINER);
    await isLifted();
    expect([passed, engine.claims]).toEqual([["before-settle", "after-settle", "before-issue", "after-issue"], []]);
    await engine.stop();
  });

  test.each(RESPONSE_FAILPOINTS)("does so once where the verifier is killed at %s", async (failpoint) => {
    const dying = await open(failpoint);
    await measured(Verdict.AFFIRMING);
    dying.touched(NODE, CONTAINER);
    await expect.poll(() => passed, { timeout: 30_000 }).toContain(failpoint);
    await dying.stop();
    const engine = await open();
    await engine.reconsider();
    await isLifted();
    const [lift] = await lifts();
    await engine.report(`cluster ${CLUSTER}`, lift?.intent?.id ?? Buffer.alloc(0), {
      ...{ outcome: Outcome.DONE, reason: "", detail: "", newContainerId: "", marks: [NodeMark.CORDON] },
    });
    await engine.tick();
    expect([engine.claims, engine.standing().size, (await lifts()).length]).toEqual([[], 0, 1]);
    await engine.stop();
  });
});

type Step = "asked" | "taken-off" | "equal" | "revoked";
const orders = (steps: readonly Step[]): Step[][] =>
  steps.length === 0 ? [[]] : steps.flatMap((first) => orders(steps.filter((each) => each !== first)).map((others) => [first, ...others]));

describe("that a purge contained nothing", () => {
  const waits = {
    ...OF_NODE,
    kind: ActionKind.PURGE,
    state: ActionState.AWAITING,
    approvalsNeeded: 2,
    createdAtMs: T0,
    issuedAtMs: undefined,
    intent: undefined,
  };

  /** Whoever asked for another has it denied: the layer is off. */
  async function takenOff(engine: ResponseEngine): Promise<void> {
    if (found.revokedAtMs !== undefined) return;
    if ((await read("A-3"))?.state === ActionState.AWAITING) await engine.deny("A-3", "bea", "it is off");
    await engine.purge(NODE, CHAIN, "ada", "INC-1", true).catch((error: { code: string }) => {
      // Known to be well.
      if (error.code !== "NOT_PURGEABLE") throw error;
    });
  }

  const TAKES: Readonly<Record<Step, (engine: ResponseEngine) => Promise<void>>> = {
    asked: () => stored(action(3, { ...waits, purge: PURGE })),
    "taken-off": takenOff,
    equal: () => measured(Verdict.AFFIRMING),
    revoked: async () => {
      found = node(NODE, { verdict: Verdict.CONTRAINDICATED, revokedAtMs: nowMs });
    },
  };

  test.each(orders(["asked", "taken-off", "equal", "revoked"]).map((order) => [order] as const))("ends: %j", async (order) => {
    await stored(failed);
    let engine = await open();
    let ended = false;
    const told = (): number => engine.held()["containment-failed"] ?? 0;
    for (const step of order) {
      if (step === "asked" && (await sqlite.store.readLastActionNumber()) >= 3) continue;
      nowMs += 1000;
      await TAKES[step](engine);
      ended ||= step !== "asked";
      for (const restarted of [false, true]) {
        if (restarted) {
          await engine.stop();
          engine = await open();
          // It is known before anything is looked at.
          expect(told()).toBe(ended ? 0 : 1);
        }
        await engine.tick();
        expect(told()).toBe(ended ? 0 : 1);
      }
    }
    nowMs += 3 * 86_400_000;
    for (let tick = 0; tick < 3; tick++) await engine.tick();
    expect([told(), engine.claims]).toEqual([0, []]);
    await engine.stop();
  });

  test("does not while another container's drift says that the layer is altered, though one on it was judged since", async () => {
    await stored(failed);
    const own = {
      nodeId: NODE,
      containerId: "b".repeat(64),
      place: "layer",
      kind: "content",
      severity: Severity.CRITICAL,
      layerIndex: 0,
      configDigest: CONFIG,
    };
    const open1 = drift(1, { ...own, state: DriftState.OPEN, committedAtMs: T0 - 52_000 });
    await sqlite.store.commit({ commits: [{ drifts: [open1] }], log: undefined });
    await measured(Verdict.AFFIRMING);
    const engine = await open();
    await engine.tick();
    expect(engine.held()["containment-failed"]).toBe(1);
    await sqlite.store.commit({ commits: [{ drifts: [{ ...open1, state: DriftState.RESOLVED, resolvedAtMs: T0 }] }], log: undefined });
    await engine.tick();
    expect([engine.held()["containment-failed"], (await read(failed.id))?.purge?.wellAtMs]).toEqual([undefined, T0]);
    await engine.stop();
  });
});

test.each([
  {
    other: "people have taken the layer off since, which is measured",
    more: { state: ActionState.ISSUED, reason: "measuring", purge: { ...PURGE, purgedAtMs: T0, byHand: true } },
    becomes: ["done not-measured", "issued measuring"],
  },
  {
    other: "another waits for a second person",
    more: { state: ActionState.AWAITING, purge: PURGE, approvalsNeeded: 2 },
    becomes: ["issued measuring", "withdrawn another-action"],
  },
])("the report of a purge that comes days late is taken, also where $other", async ({ more, becomes }) => {
  const intent = { id: Buffer.alloc(16, 1), body: Buffer.from([0]), signatures: [Buffer.alloc(64)] };
  const late = { ...OF_NODE, kind: ActionKind.PURGE, state: ActionState.EXPIRED, reason: "not-reported", createdAtMs: T0 - 200_000_000, intent };
  await stored(action(1, { ...late, purge: PURGE }));
  await stored(action(2, { ...OF_NODE, kind: ActionKind.PURGE, ...more }));
  const engine = await open();
  await engine.report(`node ${NODE}`, intent.id, { outcome: Outcome.DONE, reason: "", detail: "", newContainerId: "" });
  const told = [await read("A-1"), await read("A-2")].map((row) => `${ActionState[row?.state ?? 0]?.toLowerCase()} ${row?.reason}`);
  expect(told).toEqual(becomes);
  await engine.stop();
});
