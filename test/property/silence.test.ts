/** How long a node counts as silent: only what the verifier listened through. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Silence } from "../../verifier/core/session/silence.ts";

test("it grows by the time between two looks, by 5 s at most, stands while the node has begun to speak, and begins anew once it is judged; no clock makes more of it", () => {
  const state = fc.constantFrom("silent", "begun", "judged");
  const steps = fc.array(fc.record({ passedMs: fc.integer({ min: -3_600_000, max: 3_600_000 }), state }), { maxLength: 50 });
  fc.assert(
    fc.property(steps, (looks) => {
      const silence = new Silence();
      let [nowMs, expected, before] = [1_000_000_000_000, 0, "judged"];
      for (const { passedMs, state } of looks) {
        nowMs += passedMs;
        silence.look(state === "silent" ? ["n"] : [], state === "begun" ? ["n"] : [], nowMs);
        if (state === "judged") expected = 0;
        else if (state === "silent" && before !== "judged") expected += Math.min(Math.max(0, passedMs), 5000);
        before = state;
        expect([silence.ms("n"), silence.ms("other")]).toEqual([expected, 0]);
      }
    }),
  );
});
