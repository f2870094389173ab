/** The drill `canary-exec`: a program runs whose bytes no image has. */
import type { Drift } from "@hullmark/proto/v1/query";
import { pathOf, writtenMs } from "./canary-file.ts";
import { startJudged } from "./judged.ts";
import type { Scenario } from "./scenario.ts";

export function canaryExec(run: string): Scenario {
  const path = `/hullmark-canary-${run}`;
  const isBelow = (each: string): boolean => each === path || each.startsWith(`${path}/`);
  // That the file is there is another drift than that it runs, and is not enough.
  const isCode = ({ kind }: Drift): boolean => kind.startsWith("code-");
  return {
    ...{ name: "canary-exec", path, hint: "does the policy allow code from the upper directory?" },
    prepare: startJudged,
    act: async ({ target, say, signal }) => {
      say(`starting a program of its own below ${path}`);
      await target.execute(path, signal);
    },
    isFound: (drift) => isCode(drift) && isBelow(pathOf(drift)),
    // When the agent first saw it run is no measure of how fast it saw it: the beginning is when the file was written, just before.
    doneAtMs: async (_drill, drifts) =>
      writtenMs(
        drifts.filter((drift) => !isCode(drift)),
        isBelow,
      ),
  };
}
