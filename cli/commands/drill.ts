/** `hullmark drill run`: makes a harmless drift of its own and measures how long it takes until it is known and told. */
import { randomBytes } from "node:crypto";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Argument, Command } from "commander";
import { ContextError } from "../connection/context-error.ts";
import { type Asking, ask } from "../connection/run.ts";
import { type DrillReport, runCanaryFile } from "../drill/canary-file.ts";
import { DockerTarget } from "../drill/docker-target.ts";
import { PodTarget } from "../drill/pod-target.ts";
import { DrillError, type DrillTarget } from "../drill/target.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { within } from "./numbers.ts";

const START_SECONDS = 120;

interface RunOptions {
  readonly output: Format;
  readonly image?: string;
  readonly detectWithin: number;
  readonly alertWithin: number;
  readonly timeout: number;
}

export function drillCommand(): Command {
  return new Command("drill").addCommand(runCommand());
}

function runCommand(): Command {
  return new Command("run")
    .description("make a drift in a container of the drill's own, and measure the time until it is known and told (responder role)")
    .addArgument(new Argument("<drill>", "canary-file: writes a file that no image has").choices(["canary-file"]))
    .option("--image <image>", "for the drill's container, with a shell (in a cluster: by default the verifier's own image)")
    .option("--detect-within <ms>", "objective: milliseconds from the write to the committed drift", within(1, 3_600_000), 1_000)
    .option("--alert-within <ms>", "objective: milliseconds from the write to the alert that was sent", within(1, 3_600_000), 60_000)
    .option("--timeout <seconds>", "how long to wait for either, and before for the container's first verdict", within(1, 3_600), 120)
    .addOption(formatOption())
    .addHelpText(
      "after",
      "\nIt touches only what it made itself, and removes it.\nExit: 0 within the objectives, 1 not, 2 usage, 3 cannot tell (it did not come to that)",
    )
    .action(async (_drill: string, options: RunOptions, command: Command) =>
      ask(command, async (asking) => {
        const run = randomBytes(5).toString("hex");
        const { channel, signal, print } = asking;
        const objectives = { detectMs: options.detectWithin, alertMs: options.alertWithin, patienceMs: options.timeout * 1000 };
        const say = (text: string): void => void process.stderr.write(`  ${text}\n`);
        try {
          const report = await runCanaryFile({ run, target: targetOf(asking, run, options.image), objectives, channel, say, signal });
          print(isData(options.output) ? serialize(options.output, view(report, options)) : text(report, options));
          return { passed: EXIT.clean, failed: EXIT.drift, undecided: EXIT.unknown }[report.outcome];
        } catch (error) {
          if (!(error instanceof DrillError) && !signal.aborted) throw error;
          process.stderr.write(`hullmark: ${signal.aborted ? "interrupted" : printable((error as Error).message, 1000)}\n`);
          return error instanceof DrillError && error.code === "FOREIGN" ? EXIT.usage : EXIT.unknown;
        }
      }),
    );
}

function targetOf({ cluster, namespace }: Asking, run: string, image: string | undefined): DrillTarget {
  if (cluster) {
    if (namespace === undefined) throw new ContextError("a drill is in one namespace: -n NAMESPACE instead of -A");
    return new PodTarget({ ...cluster, namespace, run, image, startSeconds: START_SECONDS });
  }
  if (image === undefined) throw new ContextError("on a Docker host name an image with a shell, one that is judged there: --image IMAGE");
  return new DockerTarget(run, image);
}

/** The stable form of `-o json`. */
function view(report: DrillReport, { detectWithin, alertWithin }: RunOptions): unknown {
  const { run, container, path, outcome, problem, driftId, detectMs, alertMs, alertRoutes, actor, recorded } = report;
  const measured = (ms: number | undefined, withinMs: number) => ({ ms: ms === undefined ? null : Math.round(ms), withinMs });
  return {
    ...{ drill: "canary-file", run, container, path, outcome, problem, drift: driftId || null, actor: actor || null },
    ...{ detect: measured(detectMs, detectWithin), alert: measured(alertMs, alertWithin), alertRoutes, recorded },
  };
}

function text(report: DrillReport, { detectWithin, alertWithin }: RunOptions): string {
  const { run, container, outcome, problem, driftId, detectMs, alertMs, alertRoutes, actor, recorded } = report;
  const took = (ms: number | undefined, withinMs: number): string => (ms === undefined ? "not seen" : `${Math.round(ms)} ms (objective ${withinMs})`);
  const lines = [
    `${outcome.toUpperCase()}  canary-file in ${printable(container, 300)}${problem ? `: ${printable(problem, 500)}` : ""}`,
    `Detected ${took(detectMs, detectWithin)}${driftId ? ` as ${printable(driftId, 32)}` : ""}${actor ? `, by ${printable(actor, 100)}` : ""}`,
    alertRoutes.length === 0
      ? "Alerted  nobody: the policy has no alert route"
      : `Alerted  ${took(alertMs, alertWithin)}, by ${printable(alertRoutes.join(", "), 200)}`,
    `Removed  the drill's container; ${recorded ? `run ${run} is in the log` : "its end could NOT be recorded in the log"}`,
  ];
  return `${lines.join("\n")}\n`;
}
