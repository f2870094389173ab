/** How long a node lacks something: only what the verifier listened through. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Lack } from "../../verifier/core/session/lack.ts";

const PATIENCE_MS = 100_000;
const STEADY_MS = 20_000;

test("it grows by the time between two looks, by 5 s at most, stands while that cannot be told or the node is well for moments, and begins anew once it is well, or was told; no clock makes more of it", () => {
  const state = fc.constantFrom("lacking", "lacking", "open", "well");
  const steps = fc.array(fc.record({ passedMs: fc.integer({ min: -3_600_000, max: 3_600_000 }), state }), { maxLength: 80 });
  fc.assert(
    fc.property(steps, (looks) => {
      const lack = new Lack();
      let [nowMs, expected, known, wellMs] = [1_000_000_000_000, 0, false, 0];
      for (const [at, { passedMs, state }] of looks.entries()) {
        nowMs += passedMs;
        const stepMs = at === 0 ? 0 : Math.min(Math.max(0, passedMs), 5000);
        lack.look({ lacking: state === "lacking" ? ["n"] : [], open: state === "open" ? ["n"] : [] }, PATIENCE_MS, nowMs);
        wellMs = state === "well" ? wellMs + stepMs : 0;
        if (state === "lacking") expected = known ? expected + stepMs : 0;
        known = state !== "well" || (known && expected < PATIENCE_MS && wellMs < STEADY_MS);
        if (!known) expected = 0;
        expect([lack.ms("n"), lack.ms("other")]).toEqual([expected, 0]);
      }
    }),
  );
});

test("what is well for a minute is well, however long the patience", () => {
  const lack = new Lack();
  let nowMs = 1_000_000_000_000;
  const look = (lacking: readonly string[], seconds: number): number => {
    for (let i = 0; i < seconds; i++) {
      nowMs += 1000;
      lack.look({ lacking, open: [] }, 3_600_000, nowMs);
    }
    return lack.ms("n");
  };
  expect([look(["n"], 1000), look([], 59), look(["n"], 1), look([], 60), look(["n"], 1)]).toEqual([999_000, 999_000, 1_000_000, 0, 0]);
});
