/** What a page says is done about it, and how long it waits for that. */
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import { AlertBook, alertFingerprint, HandledAlerts } from "@hullmark/verifier/core/alerting/index";
import { EventBus } from "@hullmark/verifier/core/fleet/events";
import type { AlertNotification } from "@hullmark/verifier/ports/notifier";
import type { ActionRow } from "@hullmark/verifier/ports/rows";
import { expect, test } from "vitest";
import { subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { action } from "./store-fixtures.ts";

const T0 = Date.parse("2026-09-21T14:13:20Z");
const { signal } = new AbortController();

/** One drift as it is told, by a clock that goes on as it is waited for. */
function world({ acts = true, containers = 1 } = {}) {
  let nowMs = T0;
  const book = new AlertBook();
  const subjects = Array.from({ length: containers }, (_, at) => subject({ driftId: `D-${at}`, nodeName: `w-${at}`, containerName: "cart" }));
  const plan = book.plan(subjects, [webhookRoute({ groupBy: [] })], T0);
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
  /** A receiver took it; then what is planned a tick later. */
  const taken = () => book.apply(book.plan([], [webhookRoute({ groupBy: [] })], nowMs, [subject({ nodeName: "w-0" })].map(alertFingerprint)));
  const tick = (): string[] => {
    const renewed = handled.unsaid();
    const again = book.plan([], [webhookRoute({ groupBy: [] })], nowMs, [], [], renewed);
    book.apply(again);
    handled.noteRetold(renewed);
    return again.commit.notifications.flatMap(({ alerts }) => alerts.map(({ status }) => status));
  };
  return { handled, events, meanwhile, tell, set, taken, tick };
}

const row = (state: ActionState, more: Partial<ActionRow> = {}): ActionRow => ({
  ...{ ...action(1), state, kind: ActionKind.RECREATE, driftId: "D-0", nodeName: "w-0", containerName: "cart", createdAtMs: T0, deniedBy: "", reason: "" },
  ...{ node: undefined, capture: undefined, issuedAtMs: undefined, settledAtMs: undefined, approvals: [], approvalsNeeded: 1 },
  ...more,
});
const CAPTURE = { digest: "sha256:00", bytes: 1, complete: true };

test.each([
  [ActionState.AWAITING, {}, "Waits  for a yes to recreate cart on w-0 (0 of 1) · hullmark action approve A-1"],
  [ActionState.DONE, { settledAtMs: T0 + 2900, capture: CAPTURE }, "Done   cart on w-0 recreated 14:13:22Z (A-1), captured before"],
  [ActionState.DONE, { settledAtMs: T0, capture: { ...CAPTURE, complete: false } }, "Done   cart on w-0 recreated 14:13:20Z (A-1), captured before in part"],
  [ActionState.FAILED, { reason: "capture\n" }, "Failed to recreate cart on w-0: capture\\x0a · hullmark action show A-1"],
  [ActionState.REFUSED, { reason: "protected" }, "Failed to recreate cart on w-0: protected · hullmark action show A-1"],
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

test("that a yes is waited for is told of its own where the page went before it was known, once, and not where a page has said it", async () => {
  const waits = (more: Partial<ActionRow> = {}) => row(ActionState.AWAITING, { id: "A-1", createdAtMs: T0 + 60_000, ...more });
  const late = world();
  await late.handled.follow({ listActions: async () => [] }, late.events);
  const publish = (each: ActionRow) => late.events.publish({ actions: [{ row: each, before: undefined }] });
  await late.tell();
  late.taken();
  late.set(60_000);
  publish(waits());
  // It may be on its way still.
  expect(late.tick()).toEqual([]);
  late.set(65_000);
  expect(late.tick()).toEqual(["firing"]);
  expect(late.tick()).toEqual([]);
  // What was withdrawn meanwhile is waited for no more, and no page says that it is.
  publish(waits({ id: "A-2", number: 2, driftId: "D-0" }));
  publish(waits({ id: "A-2", number: 2, driftId: "D-0", state: ActionState.WITHDRAWN }));
  late.set(200_000);
  expect(late.tick()).toEqual([]);
  expect((await late.tell())?.lines).toEqual(["Done   nothing yet · hullmark action ls"]);

  const said = world();
  await said.handled.follow({ listActions: async () => [] }, said.events);
  said.meanwhile.set(300, () => said.events.publish({ actions: [{ row: waits({ createdAtMs: T0 + 300 }), before: undefined }] }));
  expect((await said.tell())?.lines).toEqual(["Waits  for a yes to recreate cart on w-0 (0 of 1) · hullmark action approve A-1"]);
  said.taken();
  said.set(60_000);
  expect(said.tick()).toEqual([]);

  // What waited before the verifier started was told by the one before, and what nobody has been told of yet is told with that.
  const before = world();
  await before.handled.follow({ listActions: async () => [waits()] }, before.events);
  before.taken();
  before.set(600_000);
  expect(before.tick()).toEqual([]);
  const untold = world();
  await untold.handled.follow({ listActions: async () => [] }, untold.events);
  untold.events.publish({ actions: [{ row: waits(), before: undefined }] });
  untold.set(600_000);
  expect(untold.tick()).toEqual([]);
});
