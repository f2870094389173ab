/** Many verdicts at once, on a real store: a few are decided at a time, so that the breaker's page, people and actuators do not wait for all of them. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import { openSqliteStore, type SqliteStore } from "@hullmark/verifier/adapters/sqlite/index";
import type { Committer, Draft } from "@hullmark/verifier/core/fleet/committer";
import { ResponseEngine } from "@hullmark/verifier/core/response/index";
import type { ActionRow } from "@hullmark/verifier/ports/rows";
import { type Store, StoreError } from "@hullmark/verifier/ports/store";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { testNoteSigner } from "../fakes/note-signer.ts";
import { policyOf } from "../fakes/policy.ts";
import { action, drift, node, workload } from "./store-fixtures.ts";

const NODE = "00112233445566aa";
/** Of which nothing is heard. */
const SILENT = "00112233445566bb";
const CONTAINERS = 1000;
const CROWD = 450;
const RUNG = ["recreate"];
const response = { hourlyPercent: 2, rules: [{ name: "all", ladder: { low: RUNG, medium: RUNG, high: RUNG, critical: RUNG } }] };
const enforcing = policyOf({ mode: "enforce", response });
/** Of an action that this policy asks for. */
const ASKED = { rule: "all", owners: [], approvalsNeeded: 0 };
const signer = testNoteSigner();
const attested = node(NODE, { verdict: Verdict.AFFIRMING });
const nodes = new Map([[NODE, attested]]);

let policy = enforcing;
let directory: string;
let sqlite: SqliteStore;
/** Containers that were looked at; how many of them when the page was committed; intents in their order. */
let looks: number;
let paged: number | undefined;
let issued: ActionRow[];
/** Of the next commits, how many fail. */
let failing: number;
/** Of the next that issue something, how many are stored although they fail. */
let lost: number;
let reloads: number;
/** The actuator goes away. */
let away: () => void;
/** Who was revoked, and when. */
let revoked: Map<string, number>;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-turns-"));
  sqlite = await openSqliteStore(join(directory, "verifier.db"));
  [looks, paged, issued, failing, lost, reloads] = [0, undefined, [], 0, 0, 0];
  policy = enforcing;
  revoked = new Map();
  nodes.delete(SILENT);
});
afterEach(async () => {
  await sqlite.close();
  rmSync(directory, { recursive: true });
});

const idOf = (index: number): string => index.toString(16).padStart(64, "0");

/** Containers that have all drifted. @param more of each @param of the node of each */
async function drifted(more: (index: number) => object = () => ({}), containers = CONTAINERS, of: (index: number) => string = () => NODE): Promise<void> {
  const bad = { verdict: Verdict.CONTRAINDICATED, content: Verdict.CONTRAINDICATED, reasons: [] };
  const commits = Array.from({ length: containers }, (_, index) => {
    const own = { containerName: `web-${index}`, workload: "", service: undefined };
    const open = {
      nodeId: of(index),
      containerId: idOf(index),
      containerName: own.containerName,
      key: `k${index}`,
      state: DriftState.OPEN,
      severity: Severity.HIGH,
    };
    return {
      workloads: [workload(of(index), idOf(index), { ...own, verdict: bad.verdict, appraised: bad })],
      drifts: [drift(index + 1, open)],
      ...more(index),
    };
  });
  for (let at = 0; at < commits.length; at += 250) await sqlite.store.commit({ commits: commits.slice(at, at + 250), log: undefined });
}

async function open(samePerson = (a: string, b: string) => a === b): Promise<ResponseEngine> {
  const store: Store = {
    ...sqlite.store,
    findWorkloads: (id, limit) => {
      looks++;
      return sqlite.store.findWorkloads(id, limit);
    },
    readPause: () => {
      reloads++;
      return sqlite.store.readPause();
    },
  };
  const submit = async ({ build, subjects }: Draft) => {
    if (failing > 0) {
      failing--;
      throw new StoreError("STORE_UNAVAILABLE", "no space left");
    }
    if (subjects) paged ??= looks;
    const commit = build(0);
    await sqlite.store.commit({ commits: [commit], log: undefined });
    if (lost > 0 && commit.actions?.some(({ row }) => row.state === ActionState.ISSUED)) {
      lost--;
      throw new StoreError("STORE_UNAVAILABLE", "the connection was lost");
    }
    return { commit, firstLogIndex: 0 };
  };
  const engine = await ResponseEngine.open({
    ...{
      samePerson,
      revokedSince: (by: string, atMs: number) => (revoked.get(by) ?? -1) >= atMs,
      store,
      committer: { submit } as unknown as Committer,
      nowMs: () => Date.now(),
      verifierId: "v1",
      region: "eu-1",
      policy: () => policy,
    },
    ...{
      node: (id: string) => nodes.get(id),
      nodes: () => [...nodes.values()],
      rollback: async () => undefined,
      cluster: undefined,
      pod: () => "none" as const,
    },
    ...{ layerChains: async () => () => [], intentKeys: () => [signer], random: (bytes: number) => randomBytes(bytes), onProblem: () => {}, passing: () => {} },
  });
  away = engine.connect(`node ${NODE}`, { push: (row) => issued.push(row), end: () => {} });
  return engine;
}

const heldBack = (engine: ResponseEngine): number => Object.values(engine.held()).reduce((sum, n) => sum + n, 0);

test("a thousand verdicts at once: two percent are acted on, and people are paged before a tenth of them is decided", async () => {
  await drifted();
  const engine = await open();
  await engine.reconsider();
  await engine.tick();
  await expect.poll(() => engine.tick().then(() => paged), { timeout: 60_000 }).toBeLessThanOrEqual(CONTAINERS / 10);
  await expect.poll(() => heldBack(engine), { timeout: 60_000 }).toBe(CONTAINERS - 20);
  expect(issued).toHaveLength(20);
  await engine.stop();
});

test("a thousand actions that wait for people are looked at a part at a time, all of them in the end", async () => {
  const waiting = (index: number) => {
    const own = { id: `A-${String(index).padStart(4, "0")}`, containerId: idOf(index), containerName: `web-${index}`, workload: "", driftId: `D-${index + 1}` };
    const row = action(index + 1, {
      ...{ ...own, ...ASKED },
      nodeId: NODE,
      state: ActionState.AWAITING,
      createdAtMs: Date.now(),
      issuedAtMs: undefined,
      settledAtMs: undefined,
    });
    return { actions: [{ row, before: undefined }] };
  };
  await drifted(waiting);
  const engine = await open();
  for (const wanted of [200, 400, 600, 800, 1000, 1200]) {
    await engine.tick();
    expect(looks).toBe(wanted);
  }
  await engine.stop();
});

test("a crowd of captures that nobody answers, of a node that is not heard any more, keeps no other pod's from being over", async () => {
  policy = policyOf({ mode: "enforce", response: { ...response, hourlyPercent: 100 } });
  nodes.set(SILENT, node(SILENT, { verdict: Verdict.UNKNOWN }));
  const longAgoMs = Date.now() - 600_000;
  const asked = (index: number) => {
    const own = { id: `A-${String(index).padStart(4, "0")}`, containerId: idOf(index), containerName: `web-${index}`, workload: "", driftId: `D-${index + 1}` };
    const row = action(index + 1, {
      ...own,
      ...{ ...ASKED, nodeId: index === 0 ? NODE : SILENT, kind: ActionKind.RECREATE, state: ActionState.CAPTURING, createdAtMs: longAgoMs },
      ...{ issuedAtMs: undefined, settledAtMs: undefined, intent: undefined },
      capturing: { id: randomBytes(16), sinceMs: longAgoMs, untilMs: longAgoMs + 30_000 },
    });
    return { actions: [{ row, before: undefined }] };
  };
  await drifted(asked, CROWD + 1, (index) => (index === 0 ? NODE : SILENT));
  const engine = await open();
  // Each is looked at within so many ticks.
  for (let tick = 0; tick < Math.ceil((CROWD + 1) / 200); tick++) await engine.tick();
  expect(issued).toMatchObject([{ nodeId: NODE, captureMissed: { code: "not-answered" } }]);
  // Of the others nothing is done, and that they are not captured is on record.
  expect(engine.held()).toEqual({ "node-not-attested": CROWD });
  const silent = await sqlite.store.listActions({ states: [ActionState.CAPTURING], sinceMs: 0 }, { after: "", limit: 999 });
  expect(silent.map(({ captureMissed }) => captureMissed?.code)).toEqual(Array.from({ length: CROWD }, () => "not-answered"));
  await engine.stop();
});

test("what was stored although that failed is handed out, and keeps neither others from their turn nor people from being told", async () => {
  const longAgoMs = Date.now() - 600_000;
  const asked = (index: number) => {
    if (index > 0) return {};
    const own = {
      id: "A-0001",
      nodeId: NODE,
      containerId: idOf(0),
      containerName: "web-0",
      workload: "",
      driftId: "D-1",
      kind: ActionKind.RECREATE,
      ...ASKED,
    };
    const times = { createdAtMs: longAgoMs, issuedAtMs: undefined, settledAtMs: undefined, intent: undefined };
    const row = action(1, {
      ...own,
      ...times,
      state: ActionState.CAPTURING,
      capturing: { id: randomBytes(16), sinceMs: longAgoMs, untilMs: longAgoMs + 30_000 },
    });
    return { actions: [{ row, before: undefined }] };
  };
  await drifted(asked);
  const engine = await open();
  lost = 1;
  await engine.tick().catch(() => undefined);
  expect(lost).toBe(0);
  await engine.tick();
  expect(issued).toMatchObject([{ id: "A-0001", state: ActionState.ISSUED }]);
  await engine.reconsider();
  await expect.poll(() => engine.tick().then(() => paged), { timeout: 60_000 }).toBeDefined();
  await engine.stop();
});

test("while the storage is ill it is read anew once a tick, however many wait to be decided", async () => {
  await drifted();
  const engine = await open();
  await engine.tick();
  [failing, reloads] = [1000, 0];
  await engine.reconsider();
  for (let tick = 0; tick < 3; tick++) await engine.tick();
  expect(reloads).toBeGreaterThan(0);
  expect(reloads).toBeLessThanOrEqual(4);
  failing = 0;
  await expect.poll(() => engine.tick().then(() => heldBack(engine)), { timeout: 60_000 }).toBe(CONTAINERS - 20);
  expect(issued).toHaveLength(20);
  await engine.stop();
});

describe("what was asked for in earnest, under a policy that does not act any more", () => {
  const rule = { name: "all", ladder: { low: RUNG, medium: RUNG, high: RUNG, critical: RUNG } };
  const asking = policyOf({ mode: "enforce", response: { hourlyPercent: 100, rules: [{ ...rule, approvals: 1 }] } });
  const stored = (...states: ActionState[]) => sqlite.store.listActions({ states, sinceMs: 0 }, { after: "", limit: 10 });

  async function waiting(): Promise<{ readonly engine: ResponseEngine; readonly id: string }> {
    policy = asking;
    await drifted(undefined, 1);
    const engine = await open();
    await engine.reconsider();
    await expect.poll(async () => (await stored(ActionState.AWAITING)).length, { timeout: 30_000 }).toBe(1);
    return { engine, id: (await stored(ActionState.AWAITING))[0]?.id ?? "" };
  }

  test.each(["dry-run", "observe"] as const)("%s: a yes issues nothing; it is withdrawn, and what would be done is told as that", async (mode) => {
    const { engine, id } = await waiting();
    policy = policyOf({ mode, response: { hourlyPercent: 100, rules: [{ ...rule, approvals: 1 }] } });
    await expect(engine.approve(id, "ada")).rejects.toMatchObject({ code: "HELD", message: `not now: ${mode}` });
    await engine.tick();
    expect(await stored(ActionState.WITHDRAWN)).toMatchObject([{ id, reason: mode, approvals: [] }]);
    await expect.poll(async () => (await stored(ActionState.DRY_RUN)).length, { timeout: 30_000 }).toBe(mode === "dry-run" ? 1 : 0);
    policy = asking;
    await engine.reconsider();
    await expect.poll(async () => (await stored(ActionState.AWAITING)).length, { timeout: 30_000 }).toBe(1);
    expect(issued).toEqual([]);
    await engine.stop();
  });

  test("what was issued and not handed out yet is not handed out meanwhile", async () => {
    const { engine, id } = await waiting();
    const late: ActionRow[] = [];
    await engine.approve(id, "ada");
    policy = policyOf({ mode: "dry-run" });
    await engine.reconsider();
    engine.connect(`node ${NODE}`, { push: (row) => late.push(row), end: () => {} });
    expect(late).toEqual([]);
    policy = asking;
    await engine.reconsider();
    expect(late).toMatchObject([{ id }]);
    await engine.reconsider();
    expect(late).toHaveLength(1);
    await engine.stop();
  });
});

describe("what people were asked for, under a policy that says otherwise now", () => {
  const rule = { name: "all", ladder: { low: RUNG, medium: RUNG, high: RUNG, critical: RUNG }, approvals: 1, owners: ["compose"] };
  const under = (more: object) => policyOf({ mode: "enforce", response: { hourlyPercent: 100, rules: [{ ...rule, ...more }] } });
  const listed = (state: ActionState) => sqlite.store.listActions({ states: [state], sinceMs: 0 }, { after: "", limit: 10 });

  test.each<[string, object]>([
    ["more people", { approvals: 2 }],
    ["whose containers may be touched", { owners: [] }],
    ["another rule, which may want a capture first", { name: "other" }],
  ])("%s: it is withdrawn, and asked for anew as it is now", async (_what, now) => {
    policy = under({});
    await drifted(undefined, 1);
    const engine = await open();
    await engine.reconsider();
    await expect.poll(async () => (await listed(ActionState.AWAITING)).length, { timeout: 30_000 }).toBe(1);
    const [before] = await listed(ActionState.AWAITING);
    policy = under(now);
    await expect(engine.approve(before?.id ?? "", "ada")).rejects.toMatchObject({ code: "HELD" });
    await engine.tick();
    await expect.poll(async () => (await listed(ActionState.AWAITING)).length, { timeout: 30_000 }).toBe(1);
    expect(await listed(ActionState.WITHDRAWN)).toMatchObject([{ id: before?.id, reason: "another-action" }]);
    const [asked] = await listed(ActionState.AWAITING);
    const { name, approvals, owners } = { ...rule, ...now };
    expect(asked).toMatchObject({ rule: name, approvalsNeeded: approvals, owners, approvals: [] });
    expect(issued).toEqual([]);
    await engine.stop();
  });

  test("what holds is told: a freeze with its end, and an actuator that is away", async () => {
    policy = under({ approvals: 0 });
    await drifted(undefined, 1);
    const engine = await open();
    expect(engine.claims).toEqual([]);
    const until = new Date(Math.ceil(Date.now() / 1000) * 1000 + 3_600_000);
    const frozen = { reason: "sale", from: "2020-01-01T00:00:00Z", until: until.toISOString() };
    policy = policyOf({ mode: "enforce", response: { hourlyPercent: 100, rules: [rule], freezes: [frozen] } });
    expect(engine.claims).toMatchObject([{ code: "actions-frozen", detail: `until ${until.toISOString().replace(".000", "")}: sale` }]);
    policy = under({ approvals: 0 });
    away();
    await engine.reconsider();
    await expect
      .poll(() => engine.claims, { timeout: 30_000 })
      .toMatchObject([{ code: "no-actuator", detail: "1 action waits for an actuator that does not listen: hullmark action ls" }]);
    await engine.stop();
  });

  test("what was issued is not handed out in a freeze that has begun since, and is when that is over", async () => {
    policy = under({});
    await drifted(undefined, 1);
    const engine = await open();
    await engine.reconsider();
    await expect.poll(async () => (await listed(ActionState.AWAITING)).length, { timeout: 30_000 }).toBe(1);
    const id = (await listed(ActionState.AWAITING))[0]?.id ?? "";
    await engine.approve(id, "ada");
    const late: ActionRow[] = [];
    const frozen = { reason: "sale", from: new Date(Date.now() - 1000).toISOString(), until: new Date(Date.now() + 3_600_000).toISOString() };
    policy = policyOf({ mode: "enforce", response: { hourlyPercent: 100, rules: [rule], freezes: [frozen] } });
    await engine.reconsider();
    engine.connect(`node ${NODE}`, { push: (row) => late.push(row), end: () => {} });
    await engine.tick();
    expect(late).toEqual([]);
    // What was pushed before, and not read yet, neither.
    const [pushed] = issued;
    expect(pushed && (await engine.signed(pushed))).toBeUndefined();
    policy = under({});
    await engine.tick();
    expect(late).toMatchObject([{ id }]);
    expect(pushed && (await engine.signed(pushed))).toBeDefined();
    await engine.stop();
  });
});

test("the word of somebody who was revoked since counts no more, and another's is needed in its place", async () => {
  const rule = { name: "all", ladder: { low: RUNG, medium: RUNG, high: RUNG, critical: RUNG }, approvals: 2 };
  policy = policyOf({ mode: "enforce", response: { hourlyPercent: 100, rules: [rule] } });
  await drifted(undefined, 1);
  const engine = await open();
  await engine.reconsider();
  const waiting = () => sqlite.store.listActions({ states: [ActionState.AWAITING], sinceMs: 0 }, { after: "", limit: 10 });
  await expect.poll(async () => (await waiting()).length, { timeout: 30_000 }).toBe(1);
  const id = (await waiting())[0]?.id ?? "";
  await engine.approve(id, "mallory");
  revoked.set("mallory", Date.now());
  expect(await engine.approve(id, "bob")).toMatchObject({ state: ActionState.AWAITING, approvals: [{ by: "bob" }] });
  expect(issued).toEqual([]);
  expect(await engine.approve(id, "eve")).toMatchObject({ state: ActionState.ISSUED, approvals: [{ by: "bob" }, { by: "eve" }] });
  await engine.stop();
});

test("what waits for its node, approved by somebody who was revoked since, is withdrawn and asked for anew", async () => {
  const rule = { name: "all", ladder: { low: RUNG, medium: RUNG, high: RUNG, critical: RUNG }, approvals: 1 };
  policy = policyOf({ mode: "enforce", response: { hourlyPercent: 100, rules: [rule] } });
  const approvedMs = Date.now() - 120_000;
  const capturing = { id: randomBytes(16), sinceMs: approvedMs, untilMs: approvedMs + 30_000 };
  const row = action(1, {
    ...{ id: "A-0001", nodeId: NODE, containerId: idOf(0), containerName: "web-0", workload: "", driftId: "D-1", kind: ActionKind.RECREATE, ...ASKED },
    ...{ approvalsNeeded: 1, approvals: [{ by: "mallory", atMs: approvedMs }], state: ActionState.CAPTURING, capturing },
    ...{ createdAtMs: approvedMs, issuedAtMs: undefined, settledAtMs: undefined, intent: undefined },
  });
  await drifted(() => ({ actions: [{ row, before: undefined }] }), 1);
  revoked.set("mallory", Date.now());
  const engine = await open();
  await engine.tick();
  const listed = (state: ActionState) => sqlite.store.listActions({ states: [state], sinceMs: 0 }, { after: "", limit: 10 });
  expect(await listed(ActionState.WITHDRAWN)).toMatchObject([{ id: "A-0001", reason: "approval-revoked" }]);
  await expect.poll(async () => (await listed(ActionState.AWAITING)).length, { timeout: 30_000 }).toBe(1);
  expect(await listed(ActionState.AWAITING)).toMatchObject([{ approvals: [] }]);
  expect(issued).toEqual([]);
  await engine.stop();
});

test("a release is issued by as many people as policy asks for by then", async () => {
  const rule = { name: "all", ladder: { low: RUNG, medium: RUNG, high: RUNG, critical: RUNG } };
  const asking = (release: number) => policyOf({ mode: "enforce", response: { rules: [{ ...rule, approvalsFor: { release } }] } });
  policy = asking(2);
  const isolated = action(1, {
    ...{ id: "A-0001", nodeId: NODE, containerId: idOf(0), containerName: "web-0", workload: "", kind: ActionKind.ISOLATE, ...ASKED },
    ...{ state: ActionState.DONE, createdAtMs: Date.now(), settledAtMs: Date.now() },
  });
  await sqlite.store.commit({ commits: [{ actions: [{ row: isolated, before: undefined }] }], log: undefined });
  const engine = await open();
  const { id } = await engine.undo("A-0001", "ada", "seen to");
  policy = asking(3);
  expect(await engine.approve(id, "bob")).toMatchObject({ state: ActionState.AWAITING, approvalsNeeded: 3 });
  expect(issued).toEqual([]);
  expect(await engine.approve(id, "eve")).toMatchObject({ state: ActionState.ISSUED });
  await engine.stop();
});

test("whoever approved by two names before they were known to be one is one person", async () => {
  const rule = { name: "all", ladder: { low: RUNG, medium: RUNG, high: RUNG, critical: RUNG }, approvals: 3 };
  policy = policyOf({ mode: "enforce", response: { hourlyPercent: 100, rules: [rule] } });
  await drifted(undefined, 1);
  const before = await open();
  await before.reconsider();
  const waiting = () => sqlite.store.listActions({ states: [ActionState.AWAITING], sinceMs: 0 }, { after: "", limit: 10 });
  await expect.poll(async () => (await waiting()).length, { timeout: 30_000 }).toBe(1);
  const id = (await waiting())[0]?.id ?? "";
  await before.approve(id, "ada");
  await before.approve(id, "corp:ada");
  await before.stop();
  const now = await open((a, b) => a.replace("corp:", "") === b.replace("corp:", ""));
  await expect(now.approve(id, "corp:ada")).rejects.toMatchObject({ code: "NOT_AWAITING" });
  expect(await now.approve(id, "bob")).toMatchObject({ state: ActionState.AWAITING });
  expect(issued).toEqual([]);
  expect(await now.approve(id, "eve")).toMatchObject({ state: ActionState.ISSUED });
  await now.stop();
});

describe("what waits for its node, when its container is not judged yet", () => {
  const judged = (verdict: Verdict) => {
    const own = { containerName: "web-0", workload: "", service: undefined };
    return { workloads: [workload(NODE, idOf(0), { ...own, verdict, appraised: { verdict, content: verdict, reasons: [] } })] };
  };
  const listed = (state: ActionState) => sqlite.store.listActions({ states: [state], sinceMs: 0 }, { after: "", limit: 10 });

  test.each<[string, Verdict, ActionState, string]>([
    ["is done once it is found as wrong", Verdict.CONTRAINDICATED, ActionState.ISSUED, ""],
    ["is over once it is found to be right", Verdict.AFFIRMING, ActionState.WITHDRAWN, "not-contradicted"],
  ])("after a restart it waits on, and %s", async (_what, verdict, state, reason) => {
    const sinceMs = Date.now() - 120_000;
    const row = action(1, {
      ...{ id: "A-0001", nodeId: NODE, containerId: idOf(0), containerName: "web-0", workload: "", driftId: "D-1", kind: ActionKind.RECREATE, ...ASKED },
      ...{ state: ActionState.CAPTURING, capturing: { id: randomBytes(16), sinceMs, untilMs: sinceMs + 30_000 } },
      ...{ createdAtMs: sinceMs, issuedAtMs: undefined, settledAtMs: undefined, intent: undefined },
    });
    // Its image is looked up: nothing can be said of it, and the drift stays.
    await drifted(() => ({ ...judged(Verdict.UNKNOWN), actions: [{ row, before: undefined }] }), 1);
    const engine = await open();
    for (let tick = 0; tick < 3; tick++) await engine.tick();
    expect(await listed(ActionState.CAPTURING)).toMatchObject([{ id: "A-0001", captureMissed: { code: "not-answered" } }]);
    expect(engine.held()).toEqual({ "looking-up": 1 });
    await sqlite.store.commit({ commits: [judged(verdict)], log: undefined });
    await engine.tick();
    expect(await sqlite.store.listActions({ states: [], sinceMs: 0 }, { after: "", limit: 10 })).toMatchObject([{ id: "A-0001", state, reason }]);
    expect(engine.held()).toEqual({});
    await engine.stop();
  });
});
