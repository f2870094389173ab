/** How long a node counts as silent: only what the verifier listened through. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Silence } from "../../verifier/core/session/silence.ts";

const PATIENCE_MS = 100_000;
const STEADY_MS = 20_000;

test("it grows by the time between two looks, by 5 s at most, stands while the node has begun to speak or is judged for moments, and begins anew once it is back, or was told; no clock makes more of it", () => {
  const state = fc.constantFrom("silent", "silent", "begun", "judged");
  const steps = fc.array(fc.record({ passedMs: fc.integer({ min: -3_600_000, max: 3_600_000 }), state }), { maxLength: 80 });
  fc.assert(
    fc.property(steps, (looks) => {
      const silence = new Silence();
      let [nowMs, expected, known, judgedMs] = [1_000_000_000_000, 0, false, 0];
      for (const [at, { passedMs, state }] of looks.entries()) {
        nowMs += passedMs;
        const stepMs = at === 0 ? 0 : Math.min(Math.max(0, passedMs), 5000);
        silence.look({ silent: state === "silent" ? ["n"] : [], begun: state === "begun" ? ["n"] : [] }, PATIENCE_MS, nowMs);
        judgedMs = state === "judged" ? judgedMs + stepMs : 0;
        if (state === "silent") expected = known ? expected + stepMs : 0;
        known = state !== "judged" || (known && expected < PATIENCE_MS && judgedMs < STEADY_MS);
        if (!known) expected = 0;
        expect([silence.ms("n"), silence.ms("other")]).toEqual([expected, 0]);
      }
    }),
  );
});

test("what is judged for a minute is back, however long the patience", () => {
  const silence = new Silence();
  let nowMs = 1_000_000_000_000;
  const look = (silent: readonly string[], seconds: number): number => {
    for (let i = 0; i < seconds; i++) {
      nowMs += 1000;
      silence.look({ silent, begun: [] }, 3_600_000, nowMs);
    }
    return silence.ms("n");
  };
  expect([look(["n"], 1000), look([], 59), look(["n"], 1), look([], 60), look(["n"], 1)]).toEqual([999_000, 999_000, 1_000_000, 0, 0]);
});
