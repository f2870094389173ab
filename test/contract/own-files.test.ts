/** What the verifier certified for people and the actuator: where it cannot be written it is written soon after, and published then; at rest it is left alone. */
import { OwnFiles } from "@hullmark/verifier/own-files";
import { expect, test } from "vitest";

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

function keeper() {
  const state = { nowMs: 0, fails: false, failsFrom: Number.POSITIVE_INFINITY, anew: false, writes: 0, published: 0 };
  const files = new OwnFiles({
    nowMs: () => state.nowMs,
    write: async () => {
      state.writes++;
      if (state.fails || state.writes >= state.failsFrom) throw new Error("no space left on device");
      return state.anew;
    },
    publish: () => void state.published++,
  });
  return { state, files };
}

test("it is looked at every six hours, and published where something is new", async () => {
  const { state, files } = keeper();
  await files.write();
  for (; state.nowMs < 6 * HOUR_MS; state.nowMs += 60_000) await files.look();
  expect([state.writes, state.published]).toEqual([1, 0]);
  await files.look();
  expect([state.writes, state.published]).toEqual([2, 0]);
  state.anew = true;
  state.nowMs += 6 * HOUR_MS;
  await files.look();
  expect([state.writes, state.published]).toEqual([3, 1]);
});

test("what could not be written is written a minute later, and published, whoever had asked for it", async () => {
  const { state, files } = keeper();
  await files.write();
  state.fails = true;
  await expect(files.changed()).rejects.toThrow("no space");
  state.nowMs += MINUTE_MS;
  await expect(files.look()).rejects.toThrow("no space");
  expect(state.published).toBe(0);
  state.fails = false;
  state.nowMs += 2 * MINUTE_MS;
  await files.look();
  expect([state.writes, state.published]).toEqual([4, 1]);
  await files.look();
  expect([state.writes, state.published]).toEqual([4, 1]);
});

test("of two changes at a time, the second of which could not be written, that one is published too once it could be", async () => {
  const { state, files } = keeper();
  await files.write();
  const first = files.changed();
  const second = files.changed();
  state.failsFrom = 3;
  expect((await Promise.allSettled([first, second])).map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
  expect(state.published).toBe(1);
  state.failsFrom = Number.POSITIVE_INFINITY;
  state.nowMs += MINUTE_MS;
  await files.look();
  expect(state.published).toBe(2);
});

test("what goes on failing is tried at ever longer intervals, an hour at most: each attempt may certify what is dropped again", async () => {
  const { state, files } = keeper();
  await files.write();
  state.fails = true;
  await expect(files.changed()).rejects.toThrow("no space");
  const tried: number[] = [];
  for (let minute = 1; minute <= 240; minute++) {
    // As a timer has it: now and then a little early.
    state.nowMs = minute * MINUTE_MS - 200;
    const before = state.writes;
    await files.look().catch(() => undefined);
    if (state.writes > before) tried.push(minute);
  }
  expect(tried).toEqual([1, 3, 7, 15, 31, 63, 123, 183]);
  // Whoever asks for it waits for nothing.
  state.fails = false;
  await files.changed();
  expect(state.published).toBe(1);
  state.fails = true;
  await expect(files.changed()).rejects.toThrow("no space");
  state.fails = false;
  state.nowMs += MINUTE_MS;
  await files.look();
  expect(state.published).toBe(2);
});

test("a clock that was set back keeps nothing from being looked at", async () => {
  const { state, files } = keeper();
  state.nowMs = 100 * HOUR_MS;
  await files.write();
  state.nowMs = 0;
  await files.look();
  expect(state.writes).toBe(2);
});
