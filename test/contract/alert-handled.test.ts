/** What a page says is done about it, and how long it waits for that. */
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import { AlertBook, HandledAlerts, MAX_ALERTS_PER_CROWD } from "@hullmark/verifier/core/alerting/index";
import { EventBus } from "@hullmark/verifier/core/fleet/events";
import type { AlertNotification } from "@hullmark/verifier/ports/notifier";
import type { ActionRow } from "@hullmark/verifier/ports/rows";
import { expect, test } from "vitest";
import { subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { action } from "./store-fixtures.ts";

const T0 = Date.parse("2026-09-21T14:13:20Z");
const { signal } = new AbortController();

/** One drift as it is told, by a clock that goes on as it is waited for. */
function world({ acts = true, containers = 1, routes = ["hook"], paths = 1 } = {}) {
  let nowMs = T0;
  const book = new AlertBook();
  const taking = routes.map((name) => webhookRoute({ name, groupBy: [] }));
  const subjects = Array.from({ length: Math.max(containers, paths) }, (_, at) =>
    subject({ driftId: `D-${at}`, nodeName: `w-${at % containers}`, containerName: "cart", path: Buffer.from(`/${at % paths}`) }),
  );
  const plan = book.plan(subjects, taking, T0);
  book.apply(plan);
  const sent: { readonly afterMs: number; readonly lines: readonly string[] }[] = [];
  const meanwhile = new Map<number, () => void>();
  const clock = {
    nowMs: () => nowMs,
    after: (ms: number, run: () => void) => {
      nowMs += ms;
      meanwhile.get(nowMs - T0)?.();
      queueMicrotask(run);
      return () => undefined;
    },
  };
  const handled = new HandledAlerts({ clock, book, acts: () => acts });
  const events = new EventBus();
  const { notify } = handled.by({
    ...{ route: "hook", type: "webhook" },
    notify: async ({ alerts }) => {
      sent.push({ afterMs: nowMs - T0, lines: alerts.map(({ description }) => description.split("\n")[0] ?? "") });
      return "";
    },
  });
  const tell = async (change: (told: AlertNotification) => AlertNotification = (told) => told) => {
    for (const each of plan.commit.notifications) await notify(change(each), signal);
    return sent.at(-1);
  };
  const set = (ms: number): void => {
    nowMs = T0 + ms;
  };
  /** A receiver took it; then what is planned a tick later: the routes that are told. */
  const taken = () =>
    book.apply(
      book.plan(
        [],
        taking,
        nowMs,
        [...book.alerts()].map(({ record }) => record.fingerprint),
      ),
    );
  const tick = (): string[] => {
    const renewed = handled.unsaid();
    const again = book.plan([], taking, nowMs, [], [], renewed);
    book.apply(again);
    handled.noteRetold(renewed);
    return again.commit.notifications.map(({ route }) => route);
  };
  return { handled, events, meanwhile, notifications: plan.commit.notifications, tell, set, taken, tick };
}

const row = (state: ActionState, more: Partial<ActionRow> = {}): ActionRow => ({
  ...{ ...action(1), state, kind: ActionKind.RECREATE, driftId: "D-0", nodeName: "w-0", containerName: "cart", createdAtMs: T0, deniedBy: "", reason: "" },
  ...{ node: undefined, capture: undefined, issuedAtMs: undefined, settledAtMs: undefined, approvals: [], approvalsNeeded: 1 },
  ...more,
});
const CAPTURE = { digest: "sha256:00", bytes: 1, complete: true };
const MISSED = { code: "not-answered", problem: "" };
const REFUSED = { code: "not-taken", problem: "no room\x1b" };

test.each([
  [ActionState.AWAITING, {}, "Waits  for a yes to recreate cart on w-0 (0 of 1) · hullmark action approve A-1"],
  [ActionState.DONE, { settledAtMs: T0 + 2900, capture: CAPTURE }, "Done   cart on w-0 recreated 14:13:22Z (A-1), captured before"],
  [ActionState.DONE, { settledAtMs: T0, capture: { ...CAPTURE, complete: false } }, "Done   cart on w-0 recreated 14:13:20Z (A-1), captured before in part"],
  [
    ActionState.DONE,
    { settledAtMs: T0, capture: CAPTURE, captureMissed: { code: "not-taken", problem: "till: no room" } },
    "Done   cart on w-0 recreated 14:13:20Z (A-1), captured before in part: nothing of till: no room",
  ],
  [ActionState.DONE, { settledAtMs: T0, captureMissed: MISSED }, "Done   cart on w-0 recreated 14:13:20Z (A-1), nothing captured before: not-answered"],
  [
    ActionState.ISSUED,
    { issuedAtMs: T0, captureMissed: REFUSED },
    "Doing  recreate cart on w-0, since 14:13:20Z (A-1), nothing captured before: not-taken (no room\\x1b)",
  ],
  [ActionState.ISSUED, { issuedAtMs: T0, reason: "pdb" }, "Doing  recreate cart on w-0, since 14:13:20Z, which disruption budgets forbid now (A-1)"],
  [ActionState.CAPTURING, {}, "Doing  recreate cart on w-0, once its node has captured it, since 14:13:20Z (A-1)"],
  [ActionState.CAPTURING, { captureMissed: MISSED }, "Held   back: to recreate cart on w-0, nothing captured before: not-answered (A-1) · hullmark action ls"],
  [
    ActionState.FAILED,
    { reason: "capture", captureMissed: REFUSED },
    "Failed to recreate cart on w-0: capture, nothing captured before: not-taken (no room\\x1b) · hullmark action show A-1",
  ],
  [ActionState.FAILED, { reason: "capture\n" }, "Failed to recreate cart on w-0: capture\\x0a · hullmark action show A-1"],
  [ActionState.REFUSED, { reason: "protected" }, "Failed to recreate cart on w-0: protected · hullmark action show A-1"],
  [
    ActionState.REFUSED,
    {
      kind: ActionKind.ROLLBACK,
      reason: "owned-by-argocd",
      detail: "Deployment cart is applied by Application cart: revert there (https://g.example, at 1a2b\x1b)",
    },
    "Failed to roll back cart on w-0: owned-by-argocd (Deployment cart is applied by Application cart: revert there (https://g.example, at 1a2b\\x1b)) · hullmark action show A-1",
  ],
  [ActionState.REFUSED, { reason: "owned-by-compose", detail: "" }, "Failed to recreate cart on w-0: owned-by-compose · hullmark action show A-1"],
  [ActionState.EXPIRED, {}, "Failed to recreate cart on w-0: nobody reported in time · hullmark action show A-1"],
  [ActionState.DENIED, { deniedBy: "ann" }, "Denied to recreate cart on w-0, by ann (A-1)"],
  [ActionState.DRY_RUN, {}, "Done   nothing: the policy observes, else it would recreate cart on w-0"],
  [ActionState.WITHDRAWN, {}, "Done   nothing yet · hullmark action ls"],
] as const)("an action that is %s: %o", async (state, more, line) => {
  const { handled, tell } = world();
  handled.take(row(state, { id: "A-1", ...more }));
  expect((await tell())?.lines).toEqual([line]);
});

test("where policy acts it waits for the decision and for what was decided, moments only; else it goes at once", async () => {
  expect(await world({ acts: false }).tell()).toEqual({ afterMs: 0, lines: ["Done   nothing: the policy only observes"] });
  expect(await world().tell()).toEqual({ afterMs: 2000, lines: ["Done   nothing yet · hullmark action ls"] });
  const decided = world();
  decided.meanwhile.set(300, () => decided.handled.take(row(ActionState.ISSUED, { id: "A-1", issuedAtMs: T0 + 300 })));
  decided.meanwhile.set(2500, () => decided.handled.take(row(ActionState.DONE, { id: "A-1", settledAtMs: T0 + 2500 })));
  expect(await decided.tell()).toEqual({ afterMs: 2500, lines: ["Done   cart on w-0 recreated 14:13:22Z (A-1)"] });
  const slow = world();
  slow.handled.take(row(ActionState.ISSUED, { id: "A-1", issuedAtMs: T0 }));
  expect(await slow.tell()).toEqual({ afterMs: 4000, lines: ["Doing  recreate cart on w-0, since 14:13:20Z (A-1)"] });
  // By a clock that was set back, or of what was written down before a restart, for nothing.
  for (const ms of [-60_000, 60_000]) {
    const { set, tell } = world();
    set(ms);
    expect((await tell())?.afterMs).toBe(ms);
  }
  const over = world();
  expect((await over.tell((told) => ({ ...told, alerts: told.alerts.map((alert) => ({ ...alert, status: "resolved" })) })))?.afterMs).toBe(0);
});

test("on many nodes it is one line for what is the same, what somebody must do first; and what was done for something else of the same container counts", async () => {
  const { handled, tell } = world({ containers: 300 });
  for (let at = 0; at < 299; at++)
    handled.take(row(ActionState.DONE, { id: `A-${at}`, number: at + 1, driftId: "D-other", nodeName: `w-${at}`, settledAtMs: T0 + 1000 }));
  handled.take(row(ActionState.AWAITING, { id: "A-299", number: 300, driftId: "D-299", nodeName: "w-299" }));
  // Done before it began: of another matter.
  handled.take(row(ActionState.DONE, { id: "A-old", number: 0, driftId: "D-x", nodeName: "w-299", createdAtMs: T0 - 1 }));
  expect((await tell())?.lines).toEqual(["Waits  for a yes to recreate cart on w-299 (0 of 1) · hullmark action approve A-299"]);
  const { handled: all, tell: tellAll } = world({ containers: 300 });
  for (let at = 0; at < 300; at++)
    all.take(row(ActionState.DONE, { id: `A-${at}`, number: at + 1, driftId: "D-other", nodeName: `w-${at}`, settledAtMs: T0 + 1000 }));
  expect((await tellAll())?.lines).toEqual(["Done   cart on w-299 and 299 more recreated 14:13:21Z (A-299)"]);
});

/** Actions that are published as they come, after the page went and was taken. */
async function paged(options: { readonly containers?: number; readonly stored?: readonly ActionRow[] } = {}) {
  const { handled, events, tell, set, taken, tick, meanwhile } = world(options);
  await handled.follow({ listActions: async () => options.stored ?? [] }, events);
  const publish = (state: ActionState, more: Partial<ActionRow>): void =>
    events.publish({ actions: [{ row: row(state, { id: "A-1", createdAtMs: T0 + 60_000, ...more }), before: undefined }] });
  return { meanwhile, publish, set, taken, tell, tick };
}

test.each([
  [ActionState.AWAITING, {}],
  [ActionState.FAILED, { settledAtMs: T0 + 60_000, createdAtMs: T0 + 1000 }],
  [ActionState.EXPIRED, { settledAtMs: T0 + 60_000, createdAtMs: T0 + 1000 }],
  [ActionState.REFUSED, { settledAtMs: T0 + 60_000, createdAtMs: T0 + 1000, reason: "protected" }],
] as const)("what is pressing, and came after the page went, is told of its own once: %s", async (state, more) => {
  const late = await paged({ containers: 2 });
  await late.tell();
  late.taken();
  late.set(60_000);
  late.publish(state, more);
  // It may be on its way still.
  expect(late.tick()).toEqual([]);
  late.set(65_000);
  expect(late.tick()).toEqual(["hook"]);
  expect(late.tick()).toEqual([]);
  // As it is of the next container of the same alert: people know.
  late.publish(state, { ...more, id: "A-2", number: 2, driftId: "D-1", nodeName: "w-1" });
  late.set(300_000);
  expect(late.tick()).toEqual([]);

  const said = await paged();
  said.meanwhile.set(300, () => said.publish(state, { createdAtMs: T0 + 300, settledAtMs: T0 + 300, reason: "protected" }));
  await said.tell();
  said.taken();
  said.set(60_000);
  expect(said.tick()).toEqual([]);

  // The verifier was killed before it could tell; what its page may have said is not told again.
  const killed = await paged({ stored: [row(state, { createdAtMs: T0 + 60_000, settledAtMs: T0 + 60_000, reason: "protected" })] });
  killed.taken();
  killed.set(600_000);
  expect(killed.tick()).toEqual(["hook"]);
  expect(killed.tick()).toEqual([]);
  const near = await paged({ stored: [row(state, { createdAtMs: T0 + 5000, settledAtMs: T0 + 5000, reason: "protected" })] });
  near.taken();
  near.set(600_000);
  expect(near.tick()).toEqual([]);

  // What nobody has been told of yet is told with that.
  const untold = await paged();
  untold.publish(state, more);
  untold.set(600_000);
  expect(untold.tick()).toEqual([]);
});

test("a yes that nobody waits for any more is not told, nor a failure after which something else is done, nor what a host's limits hold back for a while", async () => {
  const after = await paged();
  await after.tell();
  after.taken();
  after.publish(ActionState.AWAITING, { id: "A-2", number: 2 });
  after.publish(ActionState.WITHDRAWN, { id: "A-2", number: 2 });
  after.publish(ActionState.FAILED, { id: "A-3", number: 3, settledAtMs: T0 + 60_000 });
  after.publish(ActionState.ISSUED, { id: "A-4", number: 4, createdAtMs: T0 + 61_000 });
  after.set(200_000);
  expect(after.tick()).toEqual([]);
  after.publish(ActionState.REFUSED, { id: "A-4", number: 4, settledAtMs: T0 + 200_000, reason: "cooling-down" });
  after.set(300_000);
  expect(after.tick()).toEqual([]);
  // Of what was asked for first nobody had heard: that the last came to nothing is news.
  after.publish(ActionState.FAILED, { id: "A-5", number: 5, settledAtMs: T0 + 300_000 });
  after.set(400_000);
  expect(after.tick()).toEqual(["hook"]);
});

test("whoever was not told it hears of it, though another route's page said it", async () => {
  const { handled, events, notifications, set, taken, tell, tick } = world({ routes: ["hook", "late"] });
  await handled.follow({ listActions: async () => [] }, events);
  const told: string[] = [];
  const late = handled.by({
    ...{ route: "late", type: "slack" },
    notify: async ({ alerts }) => {
      told.push(alerts[0]?.description.split("\n")[0] ?? "");
      return "";
    },
  });
  await tell((each) => ({ ...each, route: "hook" }));
  taken();
  set(60_000);
  events.publish({ actions: [{ row: row(ActionState.AWAITING, { id: "A-1", createdAtMs: T0 + 60_000 }), before: undefined }] });
  for (const each of notifications.filter(({ route }) => route === "late")) await late.notify(each, signal);
  expect(told).toEqual(["Waits  for a yes to recreate cart on w-0 (0 of 1) · hullmark action approve A-1"]);
  set(70_000);
  expect(tick()).toEqual(["hook", "late"]);
  expect(tick()).toEqual([]);
});

test("an alert that stands for many says what waits in it: told again for that, it would else say nothing new", async () => {
  const { handled, tell } = world({ paths: MAX_ALERTS_PER_CROWD + 2 });
  handled.take(row(ActionState.AWAITING, { id: "A-9", driftId: `D-${MAX_ALERTS_PER_CROWD + 1}`, nodeName: "w-0", containerName: "other" }));
  expect((await tell())?.lines).toContain("Waits  for a yes to recreate other on w-0 (0 of 1) · hullmark action approve A-9");
});
