/** Drills where the store cannot write: nothing counts that is not durable, and what people are to be told is told again. */
import { type DrillReport, type DrillServices, Drills } from "@hullmark/verifier/core/drill/drills";
import { StoreError } from "@hullmark/verifier/ports/store";
import { expect, test } from "vitest";

const MINUTE_MS = 60_000;

async function fixture() {
  const state = { nowMs: 1_790_000_000_000, writes: true, logIndex: 7, told: [] as string[] };
  const services: DrillServices = {
    store: { readDrillRuns: async () => [], readDrillSchedules: async () => [] },
    committer: {
      submit: async ({ build, subjects = [] }) => {
        if (!state.writes) throw new StoreError("STORE_UNAVAILABLE", "no space");
        state.told.push(...subjects.map((subject) => `${subject.driftId} ${subject.state}`));
        const firstLogIndex = state.logIndex++;
        return { commit: build(firstLogIndex), firstLogIndex };
      },
    },
    ...{ verifierId: "v", nowMs: () => state.nowMs },
  };
  return { state, drills: await Drills.open(services) };
}

const report = (run: string, outcome: DrillReport["outcome"]): DrillReport => ({
  ...{ drill: "canary-file", run, outcome, container: "c", by: "ann", problem: "", driftId: "", containment: "", endsWithinMs: 10 * MINUTE_MS },
  ...{ detectMs: undefined, alertMs: undefined, containMs: undefined, detectWithinMs: 1, alertWithinMs: 1, containWithinMs: undefined },
});

test("what could not be written did not happen", async () => {
  const { state, drills } = await fixture();
  await drills.record(report("one", ""));
  state.writes = false;
  await expect(drills.record(report("one", "failed"))).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  expect(drills.runs).toMatchObject([{ run: "one", outcome: "", logIndex: 7 }]);
  await expect(drills.schedule("canary-file", 60 * MINUTE_MS, "ann")).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  expect(drills.schedules).toEqual([]);
  state.writes = true;
  await drills.record(report("one", "failed"));
  expect(state.told.at(-1)).toBe("drill-canary-file open");
});

test("an alarm that could not be written comes with the next tick, and once", async () => {
  const { state, drills } = await fixture();
  await drills.record(report("one", ""));
  state.nowMs += 11 * MINUTE_MS;
  state.writes = false;
  await expect(drills.tick()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  state.writes = true;
  for (let i = 0; i < 3; i++) await drills.tick();
  expect(state.told.filter((told) => told.endsWith(" open"))).toEqual(["drill-canary-file open"]);
});

test("of more than a thousand runs the oldest are forgotten", async () => {
  const { state, drills } = await fixture();
  await drills.record({ ...report("exec", "failed"), drill: "canary-exec" });
  for (let i = 0; i < 1003; i++) {
    state.nowMs += 1000;
    await drills.record(report(`run${i}`, "passed"));
  }
  expect(drills.runs.length).toBe(1001);
  // By it that drill stands still, however often others ran.
  expect(drills.runs.slice(-2).map(({ run }) => run)).toEqual(["run3", "exec"]);
  expect(drills.standings()).toMatchObject([{ state: "passed" }, { drill: "canary-exec", state: "failed" }]);
  await drills.record({ ...report("execagain", "passed"), drill: "canary-exec" });
  expect(state.told.at(-1)).toBe("drill-canary-exec resolved");
  await drills.record(report("last", "passed"));
  expect(drills.runs.some(({ run }) => run === "exec")).toBe(false);
});

test("what passed while the clock was ahead hides nothing that failed, or did not come, since it was put right", async () => {
  const { state, drills } = await fixture();
  const nowMs = state.nowMs;
  await drills.schedule("canary-file", 24 * 60 * MINUTE_MS, "ann");
  state.nowMs += 300 * 24 * 60 * MINUTE_MS;
  await drills.record(report("ahead", "passed"));
  state.nowMs = nowMs + MINUTE_MS;
  await drills.record(report("now", "failed"));
  expect(drills.standings()).toMatchObject([{ state: "failed" }]);
  expect(state.told.at(-1)).toBe("drill-canary-file open");
  await drills.record(report("again", "passed"));
  expect(drills.standings()).toMatchObject([{ state: "passed" }]);
  state.nowMs = nowMs + 48 * 60 * MINUTE_MS;
  await drills.tick();
  expect(drills.standings()).toMatchObject([{ state: "overdue" }]);
});
