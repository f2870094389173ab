/** How long a node counts as silent: only what the verifier listened through. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Silence } from "../../verifier/core/session/silence.ts";

test("it grows by the time between two looks, by 5 s at most, and begins anew once the node is heard; no clock makes more of it", () => {
  const steps = fc.array(fc.record({ passedMs: fc.integer({ min: -3_600_000, max: 3_600_000 }), silent: fc.boolean() }), { maxLength: 50 });
  fc.assert(
    fc.property(steps, (looks) => {
      const silence = new Silence();
      let [nowMs, expected, before] = [1_000_000_000_000, 0, false];
      for (const { passedMs, silent } of looks) {
        nowMs += passedMs;
        silence.look(silent ? ["n"] : [], nowMs);
        expected = silent && before ? expected + Math.min(Math.max(0, passedMs), 5000) : 0;
        before = silent;
        expect([silence.ms("n"), silence.ms("other")]).toEqual([expected, 0]);
      }
    }),
  );
});
