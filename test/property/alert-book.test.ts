/** Alerts: told once, resolved once, grouped, limited, and never lost over any history of drift and crashes. */
import { readFileSync } from "node:fs";
import {
  AlertBook,
  type AlertSubject,
  alertFingerprint,
  backoffMs,
  eventOf,
  MAX_ALERTS_PER_CROWD,
  MAX_REMEMBERED_ALERTS,
  playbookOf,
  printable,
} from "@hullmark/verifier/core/alerting/index";
import { type Decided, REOPEN_WINDOW_MS } from "@hullmark/verifier/core/incident/incident";
import { ALL_KINDS } from "@hullmark/verifier/core/policy/kinds";
import type { AlertRoute } from "@hullmark/verifier/core/policy/types";
import { alarmSubject } from "@hullmark/verifier/core/response/alarm";
import type { AlertEvent, AlertNotification } from "@hullmark/verifier/ports/notifier";
import type { StoredAlert } from "@hullmark/verifier/ports/outbox";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { alertmanagerRoute, subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { MemoryOutbox } from "../fakes/memory-outbox.ts";

const T0 = 1_790_000_100_000;

/** Plans, "commits" and applies. */
function step(book: AlertBook, subjects: AlertSubject[], routes: AlertRoute[], nowMs: number): readonly AlertNotification[] {
  const plan = book.plan(subjects, routes, nowMs);
  book.apply(plan);
  return plan.commit.notifications;
}

/** What a process that starts anew finds. */
const stored = (book: AlertBook): StoredAlert[] => [...book.alerts()].map(({ record, members }) => ({ record, members: [...members.values()] }));
/** The open alerts as they would be told now. */
const shown = (book: AlertBook): AlertEvent[] =>
  [...book.alerts()]
    .filter(({ members }) => members.size > 0)
    .map(({ record, members }) => eventOf(record, members.values(), [record.severity], { owner: "" }));

const statuses = (notifications: readonly AlertNotification[]) =>
  notifications.flatMap(({ alerts }) => alerts.map(({ status, severity }) => `${status}/${severity}`));

describe("alert book", () => {
  it("tells once, and resolves when the last container is clean", () => {
    const book = new AlertBook();
    const routes = [webhookRoute()];
    expect(statuses(step(book, [subject()], routes, T0))).toEqual(["firing/critical"]);
    expect(step(book, [subject()], routes, T0 + 1000)).toEqual([]);
    expect(step(book, [subject({ driftId: "D-2", containerName: "cart-2" })], routes, T0 + 2000)).toEqual([]);
    expect(shown(book)).toMatchObject([{ containers: ["cart-1", "cart-2"], containerCount: 2, driftIds: ["D-7K2Q", "D-2"] }]);
    expect(step(book, [subject({ state: "resolved" })], routes, T0 + 3000)).toEqual([]);
    const [resolved] = step(book, [subject({ driftId: "D-2", state: "resolved" })], routes, T0 + 4000);
    expect(resolved?.alerts[0]).toMatchObject({ status: "resolved", endsAtMs: T0 + 4000, startsAtMs: 1_790_000_000_000 });
    expect(book.size).toBe(0);
    expect(step(book, [subject({ driftId: "D-2", state: "resolved" })], routes, T0 + 5000)).toEqual([]);
  });

  it("tells again when it becomes graver, spreads after an acknowledgement, or returns", () => {
    const book = new AlertBook();
    const routes = [webhookRoute()];
    expect(statuses(step(book, [subject({ severity: "medium" })], routes, T0))).toEqual(["firing/medium"]);
    expect(step(book, [subject({ severity: "low" })], routes, T0 + 1)).toEqual([]);
    expect(statuses(step(book, [subject({ severity: "high" })], routes, T0 + 2))).toEqual(["firing/high"]);
    expect(step(book, [subject({ severity: "high", state: "acknowledged" })], routes, T0 + 3)).toEqual([]);
    expect(statuses(step(book, [subject({ severity: "high", driftId: "D-2", containerName: "cart-2" })], routes, T0 + 5))).toEqual(["firing/high"]);
    expect(statuses(step(book, [subject({ state: "resolved" }), subject({ driftId: "D-2", state: "resolved" })], routes, T0 + 6))).toEqual(["resolved/high"]);
    expect(statuses(step(book, [subject({ driftId: "D-3", severity: "low" })], routes, T0 + 7))).toEqual(["firing/low"]);
  });

  it("ends the alert of a drift that has become another kind, and tells the new one", () => {
    const book = new AlertBook();
    const routes = [webhookRoute()];
    step(book, [subject()], routes, T0);
    const told = step(book, [subject({ kind: "setuid" })], routes, T0 + 1).flatMap(({ alerts }) => alerts.map(({ status, kind }) => `${status} ${kind}`));
    expect(told.sort()).toEqual(["firing setuid", "resolved content"]);
    expect(shown(book).map(({ kind }) => kind)).toEqual(["setuid"]);
    expect(statuses(step(new AlertBook(stored(book)), [subject({ state: "resolved", kind: "content" })], routes, T0 + 2))).toEqual(["resolved/critical"]);
    // There and back within one plan.
    expect(step(book, [subject(), subject({ kind: "setuid" })], routes, T0 + 3)).toEqual([]);
    expect(statuses(step(book, [subject({ state: "resolved", kind: "setuid" })], routes, T0 + 4))).toEqual(["resolved/critical"]);
    expect(book.size).toBe(0);
  });

  it("tells again when what was acknowledged has changed, and says who acknowledged it and when", () => {
    const book = new AlertBook();
    const routes = [webhookRoute()];
    expect(statuses(step(book, [subject()], routes, T0))).toEqual(["firing/critical"]);
    expect(step(book, [subject({ state: "acknowledged" })], routes, T0 + 1)).toEqual([]);
    const reopened = subject({ acknowledgedBefore: { by: "alice", atMs: T0 } });
    const [told] = step(book, [reopened], routes, T0 + 2);
    expect(told?.alerts[0]).toMatchObject({ status: "firing", driftIds: ["D-7K2Q"] });
    expect(told?.alerts[0]?.description).toContain(`Acked  an earlier state, by alice at ${new Date(T0).toISOString()}`);
    expect(step(book, [reopened], routes, T0 + 3)).toEqual([]);
  });

  const on = (node: number, change: Partial<AlertSubject> = {}): AlertSubject =>
    subject({ driftId: `D-${node}`, nodeName: `w-${node}`, containerName: `cart-${node}`, ...change });
  const fleet = (count: number, change: Partial<AlertSubject> = {}) => Array.from({ length: count }, (_, node) => on(node, change));

  it("is one alert an incident, on however many nodes: told once, and over with the last", () => {
    const book = new AlertBook();
    const routes = [webhookRoute()];
    const sent = fleet(300).flatMap((each, at) => step(book, [each], routes, T0 + at));
    expect(statuses(sent)).toEqual(["firing/critical"]);
    expect(sent[0]?.alerts[0]).toMatchObject({ incident: subject().incident, nodes: ["w-0"], nodeCount: 1, node: "" });
    const [now] = shown(book);
    expect(now).toMatchObject({ nodeCount: 300, driftCount: 300, containerCount: 300, nextCommand: `hullmark incident show ${subject().incident}` });
    expect([now?.nodes.length, now?.driftIds.length]).toEqual([16, 16]);
    expect(now?.summary).toBe("CRITICAL shop/cart: /usr/bin/curl altered in an image layer on w-0 and 299 more nodes");
    expect(now?.description).toContain("and 284 more · 300 nodes: w-0, w-1, w-2, w-3, w-4, w-5, w-6, w-7 and 292 more");
    const ends = fleet(300, { state: "resolved" }).flatMap((each, at) => step(book, [each], routes, T0 + 1000 + at));
    expect(statuses(ends)).toEqual(["resolved/critical"]);
    expect(ends[0]?.alerts[0]?.fingerprint).toBe(sent[0]?.alerts[0]?.fingerprint);
  });

  it("is news once where an acknowledged incident spreads, however far", () => {
    const book = new AlertBook();
    const routes = [webhookRoute()];
    step(book, fleet(3), routes, T0);
    // Acknowledging an incident is acknowledging drift after drift: until the last it is open, and what comes to it meanwhile is no news.
    for (const each of fleet(2, { state: "acknowledged" })) expect(step(book, [each], routes, T0 + 1)).toEqual([]);
    expect(step(book, [on(3)], routes, T0 + 2)).toEqual([]);
    expect(step(book, [on(2, { state: "acknowledged" }), on(3, { state: "acknowledged" })], routes, T0 + 3)).toEqual([]);
    const spread = Array.from({ length: 297 }, (_, at) => on(4 + at)).flatMap((each) => step(book, [each], routes, T0 + 4));
    expect(statuses(spread)).toEqual(["firing/critical"]);
    expect(spread[0]?.alerts[0]).toMatchObject({ nodeCount: 5, driftCount: 5 });
  });

  it("says which severities it replaces at each route, and falls in none while it is open", () => {
    const book = new AlertBook();
    const routes = [webhookRoute({ name: "all" }), webhookRoute({ name: "grave", minSeverity: "critical" })];
    const rises = (["low", "medium", "critical"] as const).flatMap((severity, at) => step(book, [on(at, { severity })], routes, T0 + at));
    expect(rises.map(({ route, alerts }) => [route, alerts[0]?.severity, alerts[0]?.earlierSeverities])).toEqual([
      ["all", "low", []],
      ["all", "medium", ["low"]],
      ["all", "critical", ["low", "medium"]],
      ["grave", "critical", []],
    ]);
    expect(step(book, [on(2, { state: "resolved" })], routes, T0 + 9)).toEqual([]);
    expect(shown(book)).toMatchObject([{ severity: "critical", driftCount: 2 }]);
    const over = step(book, fleet(2, { state: "resolved" }), routes, T0 + 10);
    expect(over.map(({ route, alerts }) => [route, alerts[0]?.status, alerts[0]?.earlierSeverities])).toEqual([
      ["all", "resolved", ["low", "medium"]],
      ["grave", "resolved", []],
    ]);
  });

  it("refreshes what a route knows, as it knows it, with who has joined since", () => {
    const book = new AlertBook();
    const route = alertmanagerRoute({ maxPerMinute: 1 });
    step(book, [on(0, { severity: "low" })], [route], T0);
    // Graver, and held back by the rate limit: a refresh must not tell it first.
    step(book, [on(1)], [route], T0 + 1);
    expect(book.refresh(route, T0 + 2)[0]?.alerts).toMatchObject([{ severity: "low", nodes: ["w-0", "w-1"] }]);
    expect(statuses(step(book, [], [route], T0 + 60_001))).toEqual(["firing/critical"]);
  });

  it("returns within 7 days as the same alert, which says so; later it is a new one", () => {
    const routes = [webhookRoute()];
    const episode = (book: AlertBook, atMs: number) => {
      const [told] = step(book, [on(1)], routes, atMs);
      step(book, [on(1, { state: "resolved" })], routes, atMs + 1000);
      return told?.alerts[0];
    };
    const book = new AlertBook();
    const first = episode(book, T0);
    const again = episode(new AlertBook(stored(book)), T0 + REOPEN_WINDOW_MS);
    expect(again).toMatchObject({ fingerprint: first?.fingerprint, status: "firing", reopened: 1 });
    expect(again?.description).toContain(`Again  it had been over since ${new Date(T0 + 1000).toISOString()}; returned 1 time`);
    step(book, [], routes, T0 + REOPEN_WINDOW_MS + 1001);
    expect(stored(book)).toEqual([]);
    expect(episode(book, T0 + REOPEN_WINDOW_MS + 2000)).toMatchObject({ fingerprint: first?.fingerprint, reopened: 0 });
  });

  it("names whom it was given to while that episode lasts, and does not return once somebody said that it is done with", () => {
    const decision = (atMs: number) => ({ by: "ada", reason: "r", atMs, logIndex: 1 });
    let decided: Decided = { assigned: { ...decision(T0 + 5), owner: "team-cart" }, closed: undefined };
    let book = new AlertBook([], (id) => (id === subject().incident ? decided : undefined));
    const routes = [webhookRoute({ repeatSeconds: 60 })];
    const told = (atMs: number, state: "open" | "resolved", sinceMs = atMs) => step(book, [subject({ state, sinceMs })], routes, atMs)[0]?.alerts[0];
    expect(told(T0 + 10, "open", T0)?.description).toContain("\nOwner  team-cart\n");
    book = new AlertBook(stored(book), () => decided);
    expect(told(T0 + 20, "resolved")?.description).toContain("Owner  team-cart");
    expect(told(T0 + 30, "open")).toMatchObject({ reopened: 1, description: expect.stringContaining("Owner  team-cart") });
    told(T0 + 40, "resolved");
    decided = { ...decided, closed: decision(T0 + 50) };
    const anew = told(T0 + 60, "open");
    expect(anew).toMatchObject({ reopened: 0, description: expect.not.stringMatching(/Owner|Again/) });
    // To nobody.
    decided = { ...decided, assigned: { ...decision(T0 + 70), owner: "" } };
    expect(step(book, [], routes, T0 + 120_000)[0]?.alerts[0]?.description).not.toContain("Owner");
    decided = { ...decided, assigned: { ...decision(T0 + 80), owner: "bob" } };
    expect(step(book, [], routes, T0 + 240_000)[0]?.alerts[0]?.description).toContain("Owner  bob");
  });

  it("keeps the labels by which a receiver knows it, where it returns before its end was told", () => {
    const book = new AlertBook();
    const routes = [alertmanagerRoute({ maxPerMinute: 1 })];
    const elsewhere = { driftId: "D-2", workload: "shop/web", imageReference: "registry.example/acme/cart:2", incident: subject().incident };
    expect(step(book, [subject()], routes, T0)[0]?.alerts).toMatchObject([{ workload: "shop/cart", image: "registry.example/acme/cart:1" }]);
    expect(step(book, [subject({ state: "resolved" })], routes, T0 + 1)).toEqual([]);
    expect(step(book, [subject(elsewhere)], routes, T0 + 2)).toEqual([]);
    expect(step(book, [], routes, T0 + 60_001)[0]?.alerts).toMatchObject([{ status: "firing", workload: "shop/cart", image: "registry.example/acme/cart:1" }]);
    expect(step(book, [subject({ ...elsewhere, state: "resolved" })], routes, T0 + 120_002)[0]?.alerts).toMatchObject([
      { status: "resolved", workload: "shop/cart" },
    ]);
    // Its end was told: it begins anew.
    expect(step(book, [subject(elsewhere)], routes, T0 + 180_003)[0]?.alerts).toMatchObject([{ status: "firing", workload: "shop/web" }]);
  });

  it("tells of each exception that ends, though another of the same place does", () => {
    const book = new AlertBook();
    const ending = (id: string, state: AlertSubject["state"] = "open") =>
      subject({ driftId: `exception-${id}`, kind: "exception-ending", incident: "", image: "", state });
    const told = (each: AlertSubject, at: number) =>
      step(book, [each], [webhookRoute()], T0 + at).flatMap(({ alerts }) => alerts.map(({ status, nextCommand }) => [status, nextCommand]));
    expect(told(ending("X-1"), 0)).toEqual([["firing", "hullmark exception show X-1"]]);
    expect(told(ending("X-2"), 1)).toEqual([["firing", "hullmark exception show X-2"]]);
    expect(told(ending("X-1", "resolved"), 2)).toMatchObject([["resolved", "hullmark exception show X-1"]]);
    expect(book.size).toBe(1);
  });

  it("remembers so many that are over, the newest", () => {
    const book = new AlertBook();
    for (let at = 0; at < MAX_REMEMBERED_ALERTS + 5; at++) {
      const each = subject({ driftId: `D-${at}`, path: Buffer.from(`/${at}`) });
      step(book, [each], [], T0 + at);
      step(book, [{ ...each, state: "resolved" }], [], T0 + at);
    }
    const kept = stored(book).map(({ record }) => Buffer.from(record.shown.path).toString());
    expect([kept.length, kept.includes("/4"), kept.includes("/5")]).toEqual([MAX_REMEMBERED_ALERTS, false, true]);
  });

  it("counts as told who joins what a receiver has, and all of it when it takes it", () => {
    const book = new AlertBook();
    const routes = [webhookRoute()];
    const plan = (subjects: AlertSubject[], delivered: string[] = []): readonly string[] => {
      const made = book.plan(subjects, routes, T0, delivered);
      book.apply(made);
      return made.told;
    };
    expect(plan(fleet(20))).toEqual([]);
    const fingerprint = alertFingerprint(subject());
    expect(plan([], [fingerprint])).toHaveLength(20);
    expect(plan([], [fingerprint, "unknown"])).toEqual([]);
    expect(plan([on(20), on(0)])).toEqual(["D-20"]);
    expect(new AlertBook(stored(book)).isTold("D-20")).toBe(true);
    plan(fleet(21, { state: "resolved" }));
    expect(plan([on(1)])).toEqual([]);
  });

  it("neither waits nor repeats itself when the clock is set back or on", () => {
    const book = new AlertBook();
    const HOUR = 3_600_000;
    const route = webhookRoute({ repeatSeconds: 300, groupWaitSeconds: 30, maxPerMinute: 1 });
    step(book, [on(0)], [route], T0);
    expect(statuses(step(book, [], [route], T0 + 30_000))).toEqual(["firing/critical"]);
    // An hour back: the limit's minute, the wait for others and what was told are all later than now.
    const other = on(9, { path: Buffer.from("/b") });
    expect(step(book, [on(1), other], [route], T0 - HOUR)).toEqual([]);
    expect(step(book, [], [route], T0 - HOUR + 30_000).flatMap(({ alerts }) => alerts.map(({ path }) => path))).toEqual(["/b"]);
    const known = [on(0), on(1), other].map((each): AlertSubject => ({ ...each, state: "acknowledged" }));
    step(book, known, [route], T0 - HOUR + 40_000);
    // What is new after the clock went back is news, though it is earlier than what was told.
    step(book, [on(2)], [route], T0 - 2 * HOUR);
    for (const each of [new AlertBook(stored(book)), book])
      expect(step(each, [], [route], T0 - 2 * HOUR + 30_000).flatMap(({ alerts }) => alerts.map(({ path }) => path))).toEqual(["/usr/bin/curl"]);
    // On again: what is acknowledged is not repeated, and nothing is over that is not.
    expect(step(book, [on(2, { state: "acknowledged" })], [route], T0 + HOUR)).toEqual([]);
    expect(statuses(step(book, [{ ...other, state: "resolved" }], [route], T0 - HOUR)).concat(statuses(step(book, [], [route], T0)))).toEqual([
      "resolved/critical",
    ]);
  });

  it("obeys each route: severity floor, group wait, repeat", () => {
    const book = new AlertBook();
    const routes = [webhookRoute({ name: "all", groupWaitSeconds: 30 }), webhookRoute({ name: "grave", minSeverity: "high", repeatSeconds: 300 })];
    const low = subject({ driftId: "D-1", severity: "low", path: Buffer.from("/a") });
    expect(step(book, [low], routes, T0)).toEqual([]);
    const grave = step(book, [subject({ severity: "high" })], routes, T0 + 20_000);
    expect(grave.map(({ route }) => route)).toEqual(["grave"]);
    const gathered = step(book, [], routes, T0 + 31_000);
    expect(gathered.map(({ route, alerts }) => [route, alerts.length])).toEqual([["all", 2]]);
    expect(step(book, [], routes, T0 + 319_000)).toEqual([]);
    expect(step(book, [], routes, T0 + 320_000).map(({ route }) => route)).toEqual(["grave"]);
    step(book, [subject({ severity: "high", state: "acknowledged" })], routes, T0 + 321_000);
    expect(step(book, [], routes, T0 + 900_000)).toEqual([]);
    // The floor holds for the end as well: the route that never heard of it does not hear that it is over.
    expect(step(book, [{ ...low, state: "resolved" }], routes, T0 + 931_000)).toEqual([]);
    expect(statuses(step(book, [], routes, T0 + 961_000))).toEqual(["resolved/low"]);
  });

  it("gathers what the rate limit does not let through one by one, the gravest first, says what waits still, and loses none of it", () => {
    const book = new AlertBook();
    const routes = [webhookRoute({ maxPerMinute: 2, groupBy: ["incident"] })];
    const open = (from: number, count: number) =>
      Array.from({ length: count }, (_, i) =>
        on(i, {
          driftId: `D-${from + i}`,
          path: Buffer.from(`/${from + i}`),
          severity: i === count - 1 ? "critical" : "high",
          imageReference: `i-${(from + i) % 9}`,
        }),
      );
    const now = step(book, open(0, 10), routes, T0);
    expect(now.map(({ alerts, groupKey }) => [alerts.length, groupKey === ""])).toEqual([
      [1, false],
      [9, true],
    ]);
    expect(now[0]?.alerts[0]).toMatchObject({ path: "/9", severity: "critical" });
    expect(step(book, open(100, 250), routes, T0 + 1000)).toEqual([]);
    const later = step(book, [], routes, T0 + 60_001);
    expect(later.map(({ alerts, suppressed, waiting }) => [alerts.length, suppressed, waiting])).toEqual([
      [1, 250, 0],
      [100, 0, 149],
    ]);
    expect(later[0]?.alerts[0]).toMatchObject({ path: "/349" });
    const last = [T0 + 120_100, T0 + 180_200].flatMap((at) => step(book, [], routes, at));
    expect(last.map(({ alerts, suppressed, waiting }) => [alerts.length, suppressed, waiting])).toEqual([
      [1, 149, 0],
      [100, 0, 48],
      [1, 48, 0],
      [47, 0, 0],
    ]);
    expect(new Set([...now, ...later, ...last].flatMap(({ alerts }) => alerts.map(({ path }) => path))).size).toBe(260);
    expect(step(book, [], routes, T0 + 900_000)).toEqual([]);
  });

  it("says of a layer that is poisoned still after its purge which it is, and lets its node's name bring no line", () => {
    const subject = alarmSubject("v1", true, { waiting: "1 node waits", uncontained: "containment failed: layer 0 of w-7\nx" }, T0);
    const [told] = step(new AlertBook(), [subject], [webhookRoute()], T0);
    expect(told?.alerts.map(({ summary, kind }) => [kind, summary])).toEqual([
      ["breaker", expect.stringMatching(/^CRITICAL containment failed: layer 0 of w-7\S+x$/)],
    ]);
  });

  it("tells of the breaker before all else, and beyond the rate limit too: a flood keeps nobody from knowing that actions are held back", () => {
    const { headers: _headers, hmacKeys: _keys, ...common } = webhookRoute({ maxPerMinute: 2, groupBy: ["incident"] });
    const routes: AlertRoute[] = [webhookRoute({ maxPerMinute: 2, groupBy: ["incident"] }), { ...common, type: "pagerduty", routingKey: { fromFile: "key" } }];
    const breaker = alarmSubject("v1", true, { waiting: "98 containers wait", uncontained: "" }, T0);
    const flood = (from: number) => Array.from({ length: 200 }, (_, i) => on(from + i, { path: Buffer.from(`/${from + i}`), severity: "critical" }));
    for (const route of routes) {
      const book = new AlertBook();
      const told = (subjects: AlertSubject[], atMs: number) =>
        step(book, subjects, [route], atMs).map(({ alerts }) => alerts.some(({ kind }) => kind === "breaker"));
      const [first, ...others] = told([...flood(0), breaker], T0);
      expect(first).toBe(true);
      expect(others).toHaveLength(2);
      // The minute is full.
      expect(told([...flood(500), { ...breaker, state: "resolved" }], T0 + 1000)).toEqual([true]);
    }
  });

  it("gathers nothing for PagerDuty, which calls for each alert: what is too much waits, the gravest first", () => {
    const book = new AlertBook();
    const { headers: _headers, hmacKeys: _keys, ...common } = webhookRoute({ maxPerMinute: 2, groupBy: ["incident"] });
    const routes: AlertRoute[] = [{ ...common, type: "pagerduty", routingKey: { fromFile: "key" } }];
    const open = Array.from({ length: 5 }, (_, i) => on(i, { path: Buffer.from(`/${i}`), severity: i === 4 ? "critical" : "high" }));
    const sent = [T0, T0 + 60_001, T0 + 120_002].map((at, i) => step(book, i === 0 ? open : [], routes, at));
    expect(sent.map((each) => each.map(({ alerts, suppressed, waiting }) => [alerts[0]?.path, alerts.length, suppressed, waiting]))).toEqual([
      [
        ["/4", 1, 0, 0],
        ["/0", 1, 0, 3],
      ],
      [
        ["/1", 1, 3, 0],
        ["/2", 1, 0, 1],
      ],
      [["/3", 1, 1, 0]],
    ]);
  });

  it("turns a flood in one workload into one alert more, and resolves that too", () => {
    const book = new AlertBook();
    const routes = [webhookRoute()];
    const flood = Array.from({ length: 500 }, (_, i) => subject({ driftId: `D-${i}`, path: Buffer.from(`/usr/bin/f${i}`) }));
    const sent = step(book, flood, routes, T0);
    expect(sent.reduce((sum, { alerts }) => sum + alerts.length, 0)).toBe(MAX_ALERTS_PER_CROWD + 1);
    const storm = sent.flatMap(({ alerts }) => alerts).find(({ kind }) => kind === "many");
    expect(storm).toMatchObject({ summary: "CRITICAL shop/cart: 450 more differences on w-07", incident: "", nextCommand: "hullmark drift ls", path: "" });
    const over = step(
      book,
      flood.map((item) => ({ ...item, state: "resolved" as const })),
      routes,
      T0 + 1000,
    );
    expect(over.flatMap(({ alerts }) => alerts).every(({ status }) => status === "resolved")).toBe(true);
    expect(book.size).toBe(0);
  });

  it("converges after any history with crashes: what is open has been told firing, what is over has been told resolved", async () => {
    const drift = fc.record({
      id: fc.integer({ min: 0, max: 5 }),
      path: fc.integer({ min: 0, max: 2 }),
      state: fc.constantFrom("open", "resolved", "acknowledged", "notice"),
    });
    const waitMs = fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 0, max: 90_000 }) }, fc.integer({ min: -7_200_000, max: 7_200_000 }));
    const event = fc.record({ drifts: fc.array(drift, { maxLength: 4 }), waitMs, crash: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 30 }), fc.integer({ min: 1, max: 3 }), async (events, maxPerMinute) => {
        const routes = [webhookRoute({ maxPerMinute, groupWaitSeconds: 10 })];
        let book = new AlertBook();
        const outbox = new MemoryOutbox();
        let nowMs = T0;
        const heard = new Map<string, string>();
        const truth = new Map<string, string>();
        const once = async (subjects: AlertSubject[], crash: boolean) => {
          const plan = book.plan(subjects, routes, nowMs);
          await outbox.commitAlerts(plan.commit);
          for (const { alerts } of plan.commit.notifications) for (const alert of alerts) heard.set(alert.fingerprint, alert.status);
          // Committed, and then the process dies before it could go on: the next one starts from what is stored.
          if (crash) book = new AlertBook(await outbox.readAlerts());
          else book.apply(plan);
        };
        for (const { drifts, waitMs, crash } of events) {
          const subjects = drifts.map(({ id, path, state }) =>
            subject({ driftId: `D-${id}-${path}`, path: Buffer.from(`/f${path}`), state: state as AlertSubject["state"] }),
          );
          for (const item of subjects) truth.set(item.driftId, item.state);
          await once(subjects, crash);
          nowMs += waitMs;
        }
        for (let i = 0; i < 10; i++) {
          await once([], false);
          nowMs += 61_000;
        }
        for (let path = 0; path < 3; path++) {
          const open = [...truth].some(([id, state]) => id.endsWith(`-${path}`) && (state === "open" || state === "acknowledged"));
          const told = heard.get(alertFingerprint(subject({ path: Buffer.from(`/f${path}`) })));
          if (open) expect(told).toBe("firing");
          else expect(told).toBeOneOf([undefined, "resolved"]);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("alert texts", () => {
  it("say what, where, who, which layer, since when and what to type", () => {
    const book = new AlertBook();
    const [sent] = step(book, [subject()], [webhookRoute()], T0);
    expect(sent?.alerts[0]?.summary).toBe("CRITICAL shop/cart: /usr/bin/curl altered in an image layer on w-07");
    expect(sent?.alerts[0]?.description).toBe(
      [
        "What   sha256 9f2c… → 41aa…",
        "Where  cart-1 · node w-07",
        "Image  registry.example/acme/cart:1 · signed by release",
        'Layer  2 "RUN apt-get install curl"',
        "Who    on the host, pid 22910 /usr/bin/dd, uid 0",
        "Since  2026-09-21T14:13:20.000Z",
        "Proof  log #18203",
        "You    treat the node as compromised: bring nothing back to it, do not uncordon it; whatever shares the layer runs the same",
        `Next   hullmark drift show D-7K2Q · hullmark incident ack ${subject().incident} -m REASON · hullmark playbook show ${subject().incident}`,
      ].join("\n"),
    );
  });

  it("let no name bring control characters, invisible ones or a second line", () => {
    expect(printable(Buffer.from("a\n\x1b[31m\xff", "latin1"))).toBe("a\\x0a\\x1b[31m\\xff");
    expect(printable("\u202eevil\u200b\\")).toBe("\\u{202e}evil\\u{200b}\\\\");
    expect(printable(Buffer.from("naïve ✓"))).toBe("naïve ✓");
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.string({ unit: "binary" }), (path, name) => {
        const book = new AlertBook();
        const [sent] = step(
          book,
          [subject({ path, workload: `w${name}`, containerName: name, nodeName: name, imageReference: name, layerHistory: name, summary: name })],
          [webhookRoute()],
          T0,
        );
        const { description, ...alert } = sent?.alerts[0] ?? { description: "" };
        expect(description.split("\n").length).toBeLessThanOrEqual(9);
        expect(JSON.stringify(alert) + description.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
      }),
    );
  });

  it("link a section of the playbooks that is there", () => {
    const page = readFileSync(new URL("../../docs/playbooks.md", import.meta.url), "utf8");
    const sections = [...page.matchAll(/^## (.+)$/gm)].map(([, title]) => (title as string).toLowerCase().replaceAll(" ", "-"));
    for (const kind of [...ALL_KINDS, "many", "breaker", "ak-replaced"]) expect(sections, kind).toContain(playbookOf(kind).replace("docs/playbooks.md#", ""));
  });

  it("say of every drift what is left to people", () => {
    for (const kind of ALL_KINDS) {
      const [sent] = step(new AlertBook(), [subject({ kind, place: "upper" })], [webhookRoute()], T0);
      expect(sent?.alerts[0]?.description, kind).toMatch(/\nYou {4}\S/);
    }
  });

  it("keep two paths apart that look alike, and put replicas together", () => {
    const bytes = (hex: string) => alertFingerprint(subject({ path: Buffer.from(hex, "hex") }));
    expect(bytes("2fff")).not.toBe(bytes("2ffe"));
    expect(alertFingerprint(subject({ workload: "a", imageReference: "bc" }))).not.toBe(alertFingerprint(subject({ workload: "ab", imageReference: "c" })));
    expect(alertFingerprint(subject({ driftId: "D-9", containerName: "cart-9" }))).toBe(alertFingerprint(subject()));
  });

  it("back off with jitter, within bounds, and as long as the receiver asks", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempts, random) => {
        const wait = backoffMs(attempts, random, undefined);
        expect(wait).toBeGreaterThanOrEqual(500);
        expect(wait).toBeLessThanOrEqual(300_000);
        expect(backoffMs(attempts, random, 10_000_000)).toBe(300_000);
      }),
    );
  });
});
