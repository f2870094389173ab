/** Any past, gone through under the policy that is in force, is as it was: nothing is otherwise, and nothing is written. Limits hold in it as they hold in truth. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { openSqliteStore, type SqliteStore } from "@hullmark/verifier/adapters/sqlite/sqlite-store";
import { AlertBook } from "@hullmark/verifier/core/alerting/index";
import { alertPlanner } from "@hullmark/verifier/core/fleet/alert-planner";
import { Committer } from "@hullmark/verifier/core/fleet/committer";
import { adminFact, driftFact, nodeVerdict } from "@hullmark/verifier/core/fleet/log-facts";
import type { Policy } from "@hullmark/verifier/core/policy/index";
import { HOUR_MS, hourlyLimit } from "@hullmark/verifier/core/response/breaker";
import { NO_ROLLBACK } from "@hullmark/verifier/core/response/rollback";
import type { Simulation } from "@hullmark/verifier/core/session/index";
import { MAX_DRIFTS, readDriftRecord } from "@hullmark/verifier/core/simulation/drift-record";
import { Rejudge } from "@hullmark/verifier/core/simulation/rejudge";
import { simulateSince } from "@hullmark/verifier/core/simulation/simulate-since";
import { TransparencyLog } from "@hullmark/verifier/core/transparency/index";
import type { DriftRow } from "@hullmark/verifier/ports/rows";
import Database from "better-sqlite3";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { drift, node, T0, workload } from "../contract/store-fixtures.ts";
import { NOTHING_WAITS } from "../fakes/alert-subjects.ts";
import { testNoteSigner } from "../fakes/note-signer.ts";
import { policyOf } from "../fakes/policy.ts";

vi.setConfig({ testTimeout: 180_000 });
const WEEK_MS = 7 * 86_400_000;
const SINCE = T0;
const NOW = T0 + WEEK_MS;
const CONTAINERS = 40;
let directory: string;
let runs = 0;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-past-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

const POLICY = weekly("enforce", 10);
function weekly(mode: string, hourlyPercent: number): Policy {
  const route = { name: "page", type: "webhook", url: "https://page.example/", groupWait: "30s", repeat: "4h", maxPerMinute: 2 };
  const rules = [{ name: "all", ladder: { medium: ["recreate"], high: ["recreate", "stop"], critical: ["stop"] }, untrusted: ["stop"] }];
  return policyOf({ mode, alerts: { routes: [route] }, response: { rules, hourlyPercent, pause: "10m" } });
}

/** Drifts as an appraisal under {@link POLICY} would have written them. */
const anyDrift = fc
  .record({
    container: fc.nat(CONTAINERS - 1),
    openedMs: fc.integer({ min: SINCE - 86_400_000, max: NOW - 1 }),
    lastsMs: fc.option(fc.integer({ min: 1, max: WEEK_MS }), { nil: undefined }),
    acknowledged: fc.boolean(),
    executable: fc.boolean(),
    place: fc.constantFrom("upper", "layer", "bind"),
  })
  .map(({ container, openedMs, lastsMs, acknowledged, executable, place }): Partial<DriftRow> => {
    const ends = lastsMs !== undefined && openedMs + lastsMs < NOW ? openedMs + lastsMs : undefined;
    const severity = place === "layer" ? Severity.CRITICAL : place === "bind" || executable ? Severity.HIGH : Severity.MEDIUM;
    return {
      ...{ nodeId: `n${container % 2}`, containerId: `c${container}`, workload: `shop-${container % 7}`, place, severity, executable },
      ...{ kind: place === "bind" ? "bind-file" : "content", measuredAtMs: openedMs, committedAtMs: openedMs, changedAtMs: openedMs },
      ...{ resolvedAtMs: ends, state: ends === undefined ? (acknowledged ? DriftState.ACKNOWLEDGED : DriftState.OPEN) : DriftState.RESOLVED },
      ...(acknowledged && { acknowledgedBy: "ann", acknowledgedAtMs: openedMs + 1000 }),
    };
  });
const anyPast = fc.record({
  drifts: fc.array(anyDrift, { minLength: 20, maxLength: 120 }),
  nodes: fc.array(fc.record({ id: fc.constantFrom("n0", "n1"), atMs: fc.integer({ min: SINCE, max: NOW - 1 }), well: fc.boolean() }), { maxLength: 10 }),
  pauses: fc.array(fc.integer({ min: SINCE, max: NOW - 1 }), { maxLength: 6 }),
});
type Past = typeof anyPast extends fc.Arbitrary<infer T> ? T : never;

/** Written as a verifier writes it. */
async function recorded({ drifts, nodes, pauses }: Past): Promise<{ sqlite: SqliteStore; log: TransparencyLog; path: string }> {
  const path = join(directory, `${runs++}.db`);
  const sqlite = await openSqliteStore(path);
  const log = await TransparencyLog.open(sqlite.log, testNoteSigner());
  const nothing = (): void => {};
  const planner = alertPlanner({
    book: new AlertBook(),
    routes: () => [],
    nowMs: () => NOW,
    onTold: nothing,
    onDue: nothing,
    passing: nothing,
    handled: NOTHING_WAITS,
  });
  const committer = new Committer(sqlite.store, log, planner, () => {});
  const facts = [
    ...drifts
      .toSorted((a, b) => (a.committedAtMs ?? 0) - (b.committedAtMs ?? 0))
      .map((each, i) => drift(i + 1, { key: `${each.place}||${i}`, ...each }))
      .map((row) => ({ atMs: row.committedAtMs, entry: driftFact(row, row.committedAtMs), commit: { drifts: [row] } })),
    ...nodes.map(({ id, atMs, well }) => {
      const row = node(id, { verdict: well ? Verdict.AFFIRMING : Verdict.UNKNOWN });
      return { atMs, entry: nodeVerdict(row, well ? Verdict.UNKNOWN : Verdict.AFFIRMING, atMs), commit: {} };
    }),
    ...pauses
      .toSorted((a, b) => a - b)
      .map((atMs, i) => ({ atMs, entry: adminFact(i % 2 === 0 ? "actions-paused" : "actions-resumed", atMs, { by: "ann", reason: "r" }), commit: {} })),
  ].sort((a, b) => a.atMs - b.atMs);
  await Promise.all(facts.map(({ entry, commit }) => committer.submit({ entries: [entry], build: () => commit })));
  return { sqlite, log, path };
}

const NOTHING: Simulation = {
  ...{ containers: 0, failed: 0, unknown: 0, judged: new Set(), images: new Map(), changed: [], nodes: 2, changedNodes: [], remeasured: 0 },
  forsaken: { containers: 0, by: new Set() },
};

async function past(policy: Policy, { sqlite, log }: Awaited<ReturnType<typeof recorded>>) {
  const services = {
    ...{ store: { ...sqlite.store, countResults: async () => ({ byVerdict: { 1: CONTAINERS }, byProvenance: {}, sandboxes: 0 }) }, inForce: () => POLICY },
    ...{ log: () => ({ reader: sqlite.log, size: log.size }), simulate: async () => NOTHING, rollbacks: async () => async () => NO_ROLLBACK },
    ...{ nodeVerdict: () => Verdict.AFFIRMING, paused: () => false, nowMs: () => NOW, pause: async () => {} },
  };
  return await simulateSince(policy, SINCE, services, () => {}, new AbortController().signal);
}

function dump(path: string): string {
  const database = new Database(path, { readonly: true });
  const tables = database.prepare<[], { name: string }>("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").all();
  const all = tables.map(({ name }) => [name, database.prepare(`SELECT * FROM ${name}`).all()]);
  database.close();
  return JSON.stringify(all);
}

test("a policy that finds something everywhere is gone through within bounds, and what is left out is told", async () => {
  const finding = {
    kind: "env",
    place: "configuration",
    key: "k",
    path: Buffer.alloc(0),
    severity: Severity.MEDIUM,
    notice: false,
    summary: "s",
    layerIndex: -1,
  };
  const of = (i: number) => ({ row: { ...workload("n0", `c${i}`), startedAtMs: T0 }, rule: "all" });
  const findings = Array.from({ length: 500 }, () => ({ before: undefined, after: finding }));
  const changed = Array.from({ length: 101 }, (_, i) => ({ node: node("n0"), before: of(i), after: of(i), findings, findingsChanged: 500 }));
  const now = { ...NOTHING, changed } as unknown as Simulation;
  const store = { listDrifts: async () => [] };
  const window = { sinceMs: SINCE, untilMs: NOW };
  const { drifts, omitted } = await readDriftRecord(store, window, new Rejudge(POLICY, POLICY), now, async () => {}, new AbortController().signal);
  expect([drifts.length, omitted]).toEqual([MAX_DRIFTS, 500]);
  // By which ladder and pause tell services of one name apart.
  expect(drifts[0]?.row.service).toBe("project/shop");
});

test("under the policy in force nothing is otherwise; under any, no hour has more actions than the breaker lets through", async () => {
  let [acted, held] = [0, 0];
  await fc.assert(
    fc.asyncProperty(anyPast, fc.integer({ min: 1, max: 30 }), async (given, percent) => {
      const opened = await recorded(given);
      try {
        const before = dump(opened.path);
        const same = await past(POLICY, opened);
        expect(same.changed).toEqual([]);
        expect(same.sum).toMatchObject({ driftsNew: 0, driftsGone: 0, driftsOther: 0, driftsUnknown: 0, actionsAfter: same.sum.actionsBefore });
        expect(same.sum.drifts).toBe(given.drifts.filter(({ resolvedAtMs }) => resolvedAtMs === undefined || resolvedAtMs >= SINCE).length);
        expect([same.after.actions, same.after.pages]).toEqual([same.before.actions, same.before.pages]);
        const other = await past(weekly("enforce", percent), opened);
        const times = other.after.actions.map(({ atMs }) => atMs);
        const limit = hourlyLimit(CONTAINERS, { hourlyPercent: percent });
        for (const at of times) expect(times.filter((each) => each >= at && each - at < HOUR_MS).length).toBeLessThanOrEqual(limit);
        expect((await past(weekly("observe", percent), opened)).after.actions).toEqual([]);
        expect(dump(opened.path)).toBe(before);
        acted += times.length;
        held += [...other.after.heldBack.values()].reduce((sum, { size }) => sum + size, 0);
      } finally {
        await opened.sqlite.close();
      }
    }),
    { numRuns: 5 },
  );
  // It was about something.
  expect(Math.min(acted, held)).toBeGreaterThan(10);
});
