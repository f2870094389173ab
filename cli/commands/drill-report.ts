/** `hullmark drill report`: how each drill stands, and its runs. */
import { Query } from "@hullmark/proto/v1/query";
import { Command, Option } from "commander";
import { ask } from "../connection/run.ts";
import { alarming, drillReportText, drillReportView } from "../output/drill-report-page.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { spanWithin } from "./durations.ts";

interface ReportOptions {
  readonly output: Format;
  readonly since: number;
}

export function drillReportCommand(): Command {
  return new Command("report")
    .description("how each drill stands: its last run, times against objectives and before, what is overdue")
    .addOption(new Option("--since <time>", "runs since then").argParser(spanWithin(366)).default(30 * 86_400, "30d"))
    .addOption(formatOption())
    .addHelpText(
      "after",
      "\nExit: 0 all well, 1 a drill failed, never ended or is overdue, 2 usage, 3 cannot tell (no drill has run, or the verifier does not answer)",
    )
    .action(async ({ output, since }: ReportOptions, command: Command) =>
      ask(command, async ({ channel, signal, print, nowMs, command: called }) => {
        const answer = await channel.client(Query).listDrills({}, { signal });
        const sinceMs = nowMs - since * 1000;
        print(isData(output) ? serialize(output, drillReportView(answer, sinceMs)) : drillReportText(answer, sinceMs, nowMs, called));
        if (answer.standings.some(alarming)) return EXIT.drift;
        return answer.standings.some(({ state }) => state === "passed") ? EXIT.clean : EXIT.unknown;
      }),
    );
}
