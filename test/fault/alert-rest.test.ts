/** A receiver that asks to be left alone for a time (Retry-After) is, by every notification of its route; others go on. */
import { AlertBook, dispatchDue } from "@hullmark/verifier/core/alerting/index";
import { Deliveries } from "@hullmark/verifier/core/fleet/deliveries";
import { type Notifier, NotifierError } from "@hullmark/verifier/ports/notifier";
import { expect, test } from "vitest";
import { ALONE, subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { MemoryOutbox } from "../fakes/memory-outbox.ts";

const REST_MS = 60_000;

/** Two routes over one outbox, a clock that the test moves, and what each route's receiver was asked. */
function world(answers: Record<string, (asked: number) => void>) {
  let nowMs = 1_790_000_000_000;
  let waiting: (() => void)[] = [];
  const asked: Record<string, number> = {};
  const routes = Object.keys(answers).map((name) => webhookRoute({ name, groupBy: ["incident"] }));
  const [outbox, book] = [new MemoryOutbox(), new AlertBook()];
  const after = (_: number, run: () => void): (() => void) => {
    waiting.push(run);
    return () => undefined;
  };
  const clock = { nowMs: () => nowMs, after };
  const deliveries = new Deliveries({
    ...{ clock, outbox, book, random: () => 0, refreshMs: 1e9, handledVersion: () => 0, onRound: () => undefined, ...ALONE },
    onProblem: (_, error) => expect.unreachable(String(error)),
  });
  const notifier = (name: string): Notifier => ({
    ...{ route: name, type: "webhook" },
    notify: async () => {
      asked[name] = (asked[name] ?? 0) + 1;
      answers[name]?.(asked[name]);
      return "";
    },
  });
  return {
    ...{ asked, deliveries, start: () => deliveries.use(routes.map((route) => ({ route, notifier: notifier(route.name) }))) },
    async tell(driftId: string): Promise<void> {
      const plan = book.plan([subject({ driftId, path: Buffer.from(`/${driftId}`) })], routes, nowMs++);
      await outbox.commitAlerts(plan.commit);
      book.apply(plan);
    },
    /** Every loop has its turn, and waits again. */
    async later(ms: number): Promise<void> {
      nowMs += ms;
      const runs = waiting;
      waiting = [];
      for (const run of runs) run();
      await expect.poll(() => waiting.length).toBe(routes.length);
    },
  };
}

test("for as long as it asked, by what came meanwhile too; then all of it arrives", async () => {
  const busy = (times: number) => {
    if (times === 1) throw new NotifierError("NOTIFY_THROTTLED", "HTTP 429", { retryAfterMs: REST_MS });
  };
  const { asked, deliveries, start, tell, later } = world({ busy, well: () => undefined });
  await tell("D-1");
  start();
  await expect.poll(() => asked).toEqual({ busy: 1, well: 1 });
  await later(1);
  await tell("D-2");
  await later(REST_MS / 2);
  await later(REST_MS / 4);
  expect(asked).toEqual({ busy: 1, well: 2 });
  await later(REST_MS / 2);
  expect(asked).toEqual({ busy: 3, well: 2 });
  deliveries.stop();
});

test("but for no longer where the clock is set back", async () => {
  const busy = () => {
    throw new NotifierError("NOTIFY_THROTTLED", "HTTP 429", { retryAfterMs: REST_MS });
  };
  const { asked, deliveries, start, tell, later } = world({ busy });
  await tell("D-1");
  start();
  await expect.poll(() => asked).toEqual({ busy: 1 });
  await later(1);
  await tell("D-2");
  await later(-3_600_000);
  await expect.poll(() => asked).toEqual({ busy: 2 });
  deliveries.stop();
});

test("what arrived and could not be noted is not sent again at once: whoever is paged would be each second", async () => {
  const outbox = new MemoryOutbox();
  const [route, nowMs] = [webhookRoute({ name: "pager", groupBy: ["incident"] }), 1_790_000_000_000];
  const subjects = ["D-1", "D-2"].map((driftId) => subject({ driftId, incident: `I-${driftId}`, path: Buffer.from(`/${driftId}`) }));
  await outbox.commitAlerts(new AlertBook().plan(subjects, [route], nowMs).commit);
  const asked: string[] = [];
  const notifier: Notifier = {
    ...{ route: "pager", type: "webhook" },
    notify: async ({ id }) => {
      asked.push(id);
      return "";
    },
  };
  const environment = (atMs: number) => ({
    ...{ now: () => atMs, random: () => 0, leaseMs: 40_000, passing: () => undefined },
    onDelivered: () => Promise.reject(new Error("no space")),
  });
  const signal = new AbortController().signal;
  for (const atMs of [0, 1000, 2000]) await dispatchDue(outbox, notifier, environment(nowMs + atMs), signal).catch(() => undefined);
  // Each once: the other was not tried the first time, and is due as before.
  expect(asked).toHaveLength(2);
  expect(new Set(asked).size).toBe(2);
  await expect(dispatchDue(outbox, notifier, environment(nowMs + 50_000), signal)).rejects.toThrow("no space");
  expect(asked).toHaveLength(3);
});
