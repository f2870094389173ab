/** The drill `canary-file`: a file that no image has. */
import type { Drift } from "@hullmark/proto/v1/query";
import { toMs } from "../output/words.ts";
import { startJudged } from "./judged.ts";
import type { Scenario } from "./scenario.ts";

export function canaryFile(run: string): Scenario {
  const path = `/hullmark-canary-${run}`;
  return {
    ...{ name: "canary-file", path, hint: "does the policy call the path mutable?" },
    prepare: startJudged,
    act: async ({ target, say, signal }) => {
      say(`writing ${path}`);
      await target.write(path, signal);
    },
    isFound: (drift) => pathOf(drift) === path,
    doneAtMs: async (_drill, drifts) => writtenMs(drifts, (written) => written === path),
  };
}

export function pathOf({ path }: Drift): string {
  return Buffer.from(path).toString("latin1");
}

/** The kernel's first event of files whose path is meant, Unix milliseconds; undefined: it told of none. */
export function writtenMs(drifts: readonly Drift[], meant: (path: string) => boolean): number | undefined {
  const events = drifts.filter((drift) => meant(pathOf(drift))).flatMap(({ changedAt }) => toMs(changedAt) ?? []);
  return events.length > 0 ? Math.min(...events) : undefined;
}
