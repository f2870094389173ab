/** The incidents of what the store holds: the same as computed from all of it, whatever was committed before, while and after it was read. */

import { DriftState } from "@hullmark/proto/v1/query";
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import { EventBus } from "@hullmark/verifier/core/fleet/events";
import { incidentsOf } from "@hullmark/verifier/core/incident/incident";
import { IncidentBook } from "@hullmark/verifier/core/incident/incident-book";
import type { ActionRow, DriftRow } from "@hullmark/verifier/ports/rows";
import type { Store } from "@hullmark/verifier/ports/store";
import { expect, test } from "vitest";
import { action, drift, T0 } from "./store-fixtures.ts";

/** A store in memory that publishes what is committed, and can be held while it is read. */
function fixture(maxMembers?: number) {
  const clock = { nowMs: T0 };
  const [drifts, actions] = [new Map<string, DriftRow>(), new Map<string, ActionRow>()];
  const events = new EventBus();
  let before = async (): Promise<void> => {};
  const page = <T extends { number: number }>(rows: Iterable<T>, wanted: (row: T) => boolean, after: string, limit: number): T[] =>
    [...rows]
      .filter((row) => wanted(row) && (after === "" || row.number < Number(after)))
      .sort((a, b) => b.number - a.number)
      .slice(0, limit);
  const store: Pick<Store, "listDrifts" | "listActions"> = {
    listDrifts: async ({ states }, { after, limit }) => {
      const rows = page(drifts.values(), ({ state }) => states.includes(state), after, limit);
      await before();
      return rows;
    },
    listActions: async ({ states }, { after, limit }) => page(actions.values(), ({ state }) => states.includes(state), after, limit),
  };
  const approved = new Map<string, number>();
  const excusedAtMs = (id: string): number | undefined => approved.get(id);
  const book = new IncidentBook({
    store,
    events,
    nowMs: () => clock.nowMs,
    decided: () => undefined,
    excusedAtMs,
    ...(maxMembers !== undefined && { maxMembers }),
  });
  return {
    ...{ clock, book, approved },
    hold: (run: () => Promise<void>) => {
      before = run;
    },
    put: (number: number, more: Partial<DriftRow> = {}) => {
      const row = drift(number, {
        nodeName: `w-${number}`,
        state: DriftState.OPEN,
        acknowledgedBy: "",
        acknowledgedAtMs: undefined,
        resolvedAtMs: undefined,
        ...more,
      });
      drifts.set(row.id, row);
      events.publish({ drifts: [row] });
    },
    act: (row: ActionRow) => {
      actions.set(row.id, row);
      events.publish({ actions: [{ row, before: undefined }] });
    },
    /** Past what is kept fresh. */
    read: async () => {
      clock.nowMs += 1000;
      return await book.read();
    },
  };
}

test("2,500 drifts of one file are one incident; what comes while they are read is not lost, nor made old again", async () => {
  const { put, hold, read } = fixture();
  for (let number = 1; number <= 2500; number++) put(number);
  let once = true;
  hold(async () => {
    if (!once) return;
    once = false;
    put(2501);
    put(7, { state: DriftState.RESOLVED, resolvedAtMs: T0 + 5 });
  });
  const { incidents, incomplete } = await read();
  expect(incomplete).toBe(false);
  expect(incidents).toHaveLength(1);
  expect(incidents[0]?.members).toHaveLength(2501);
  expect(incidents[0]?.members.find(({ driftId }) => driftId === "D-7")?.state).toBe("resolved");
  expect(incidents.map(({ id }) => id)).toEqual(incidentsOf(incidents[0]?.members ?? []).map(({ id }) => id));
});

test("it follows what is committed: acknowledged, contained by an action, over, and open again", async () => {
  const { put, act, read } = fixture();
  const state = async () => (await read()).incidents.map((each) => each.state);
  put(1);
  expect(await state()).toEqual(["open"]);
  put(1, { state: DriftState.ACKNOWLEDGED, acknowledgedBy: "ada", acknowledgedAtMs: T0 });
  expect(await state()).toEqual(["acknowledged"]);
  act({ ...action(1), driftId: "D-1", state: ActionState.ISSUED });
  expect(await state()).toEqual(["acknowledged"]);
  act({ ...action(1), driftId: "D-1", state: ActionState.DONE });
  expect(await state()).toEqual(["contained"]);
  put(1, { state: DriftState.RESOLVED, resolvedAtMs: T0 + 9 });
  expect(await state()).toEqual(["resolved"]);
  put(2);
  expect(await state()).toEqual(["open"]);
  put(2, { state: DriftState.NOTICE });
  expect(await state()).toEqual(["resolved"]);
});

test("what was done to a container holds whatever else was found on it before, and nothing that was found after, or elsewhere; undone it holds nothing", async () => {
  const { put, act, read } = fixture();
  const containers = { [1]: "c1", [2]: "c2", [3]: "c1" } as const;
  for (const number of [1, 2, 3] as const)
    put(number, { nodeId: "n1", containerId: containers[number], path: Buffer.from(`/${number}`), committedAtMs: T0 + (number === 3 ? 20 : 0) });
  const isolated = { ...action(1), kind: ActionKind.ISOLATE, driftId: "D-other", containerId: "c1", state: ActionState.DONE, settledAtMs: T0 + 10, reason: "" };
  const states = async () => Object.fromEntries((await read()).incidents.map(({ members, state }) => [members[0]?.driftId, state]));
  act(isolated);
  expect(await states()).toEqual({ "D-1": "contained", "D-2": "open", "D-3": "open" });
  act({ ...action(2), kind: ActionKind.RELEASE, driftId: "", containerId: "c1", undoes: "A-1", state: ActionState.DONE });
  expect(await states()).toEqual({ "D-1": "open", "D-2": "open", "D-3": "open" });
});

test("what somebody excused is over in its incident, before it was read and after; what was excused when it was found makes none, nor what is none of policy's", async () => {
  const { put, read, approved } = fixture();
  approved.set("X-1", T0 + 5);
  const notice = { state: DriftState.NOTICE, exception: "X-1" };
  put(1, { ...notice, committedAtMs: T0 });
  put(2, { ...notice, committedAtMs: T0 + 6 });
  put(3, { ...notice, committedAtMs: T0, exception: "X-forgotten" });
  put(4, { state: DriftState.NOTICE, committedAtMs: T0 });
  const excused = { state: "resolved", resolvedAtMs: T0 + 5, reopened: 0, members: [{ driftId: "D-1", state: "resolved" }] };
  expect((await read()).incidents).toMatchObject([excused]);
  put(5, { committedAtMs: T0 + 1 });
  expect((await read()).incidents).toMatchObject([{ state: "open", resolvedAtMs: undefined }]);
  put(5, { ...notice, committedAtMs: T0 + 1 });
  expect((await read()).incidents).toMatchObject([{ ...excused, members: [{ driftId: "D-1" }, { driftId: "D-5" }] }]);
  put(1, { committedAtMs: T0 });
  expect((await read()).incidents).toMatchObject([{ state: "open" }]);
});

test("a storm is computed once a second, not drift by drift; without changes nothing is computed", async () => {
  const { book, put, clock, read } = fixture();
  put(1);
  const first = await read();
  put(2);
  expect(await book.read()).toBe(first);
  clock.nowMs += 1000;
  const second = await book.read();
  expect(second.incidents[0]?.members).toHaveLength(2);
  clock.nowMs += 60_000;
  expect(await book.read()).toBe(second);
  // A clock that was set back holds nothing up.
  put(3);
  clock.nowMs -= 3_600_000;
  expect((await book.read()).incidents[0]?.members).toHaveLength(3);
});

test("where there is more than is held, what is over gives way before what stands, and it is said when something that stands is left out", async () => {
  const { put, read } = fixture(4);
  for (let number = 1; number <= 3; number++) put(number);
  put(4, { state: DriftState.RESOLVED, resolvedAtMs: T0 });
  expect((await read()).incidents[0]?.members).toHaveLength(4);
  put(5);
  const { incidents, incomplete } = await read();
  expect([incidents[0]?.members.map(({ driftId }) => driftId).sort(), incomplete]).toEqual([["D-1", "D-2", "D-3", "D-5"], false]);
  put(6);
  const more = await read();
  expect([more.incidents[0]?.members.map(({ driftId }) => driftId).sort(), more.incomplete]).toEqual([["D-2", "D-3", "D-5", "D-6"], true]);
});

test("a storage that fails is asked again", async () => {
  const { put, hold, read } = fixture();
  put(1);
  hold(async () => {
    throw new Error("no disk");
  });
  await expect(read()).rejects.toThrow("no disk");
  hold(async () => {});
  expect((await read()).incidents).toHaveLength(1);
});
