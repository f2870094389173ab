import type { Reporter } from "./reporter.ts";
import type { Stage } from "./stage.ts";

/** One thing that the demo shows. Throws when it did not happen as it should. */
export interface Scenario {
  readonly title: string;
  play(stage: Stage, report: Reporter): Promise<void>;
}

/** In the order in which they are shown. */
export const SCENARIOS: readonly Scenario[] = [
  {
    title: "Untouched",
    async play(stage, report) {
      await report.step("container started from the signed digest", () => stage.docker("run", "-d", "--name", "web", stage.image.reference));
    },
  },
];
