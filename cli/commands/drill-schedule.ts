/** `hullmark drill schedule`: the verifier expects a drill so often and alarms where it does not come; a systemd timer, which this prints, brings it. */

import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Admin } from "@hullmark/proto/v1/admin";
import { DRILLS, type DrillName } from "@hullmark/verifier/core/drill/names";
import { Argument, Command, CommanderError, Option } from "commander";
import { defaultConfigPath } from "../connection/context.ts";
import { ContextError } from "../connection/context-error.ts";
import { ask } from "../connection/run.ts";
import { drillUnits, type UnitFile } from "../drill/units.ts";
import { calledAs, helpCalled, isPlugin } from "../kubectl/invocation.ts";
import { EXIT } from "../output/exit-codes.ts";
import { spanWithin } from "./durations.ts";

interface ScheduleOptions {
  readonly every?: number;
  readonly end?: boolean;
  readonly dir?: string;
}

/** @param runCommand by whose options those of the runs are checked */
export function drillScheduleCommand(runCommand: () => Command): Command {
  return new Command("schedule")
    .description("expect a drill so often: an alert where none came; prints the systemd units that run it (admin role)")
    .addArgument(new Argument("<drill>", "what is tried").choices(DRILLS))
    .argument("[options...]", "of `drill run`, after --")
    .addOption(new Option("--every <time>", "how often, 1h to 366d").argParser(spanWithin(366)).conflicts("end"))
    .option("--end", "expect it no more")
    .addOption(new Option("--dir <directory>", "write the units there, for example /etc/systemd/system").conflicts("end"))
    .addHelpText(
      "after",
      helpCalled(
        "\nFor example: {} drill schedule canary-file --every 7d -- --image registry.example/base:1\nExit: 0 done, 2 usage or no right, 3 cannot tell",
      ),
    )
    .action(async (drill: DrillName, given: readonly string[], { every, end, dir }: ScheduleOptions, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        if (every === undefined && !end) throw new ContextError("say how often: --every 7d (or --end)");
        checkRunOptions(runCommand(), drill, given);
        await channel.client(Admin).scheduleDrill({ drill, everySeconds: every ?? 0 }, { signal });
        if (every === undefined) print(`${drill} is expected no more: systemctl disable --now hullmark-drill-${drill}.timer\n`);
        else deliver(drillUnits(drill, every, [...programOf(command), "drill", "run", drill, ...given]), dir, print);
        return EXIT.clean;
      }),
    );
}

/** @throws ContextError */
function checkRunOptions(run: Command, drill: DrillName, given: readonly string[]): void {
  try {
    const { operands, unknown } = run
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
      .parseOptions([...given]);
    const wrong = [...operands, ...unknown];
    if (wrong.length > 0) throw new ContextError(`not an option of drill run ${drill}: ${wrong.join(" ")}`);
  } catch (error) {
    if (error instanceof CommanderError) throw new ContextError(error.message.replace(/^error: /, ""));
    throw error;
  }
}

/** Asks the same verifier as this command does. */
function programOf(command: Command): string[] {
  const options = command.optsWithGlobals<Readonly<Record<string, string | undefined>>>();
  const named = (name: string, value: string | undefined): string[] => (value === undefined ? [] : [`--${name}=${value}`]);
  const { config, context, kubeconfig = process.env["KUBECONFIG"], namespace, release, asRole } = options;
  if (!isPlugin(command)) return [calledAs(command), `--config=${resolve(config ?? defaultConfigPath(process.env))}`, ...named("context", context)];
  return [
    ...[...calledAs(command).split(" "), ...named("kubeconfig", kubeconfig && resolve(kubeconfig)), ...named("context", context)],
    ...[...named("namespace", namespace), ...named("release", release), ...named("as-role", asRole)],
  ];
}

function deliver(units: readonly UnitFile[], directory: string | undefined, print: (text: string) => void): void {
  if (directory === undefined) print(units.map(({ name, text }) => `# ${name}\n${text}`).join("\n"));
  else {
    for (const { name, text } of units) writeFileSync(join(directory, name), text, { mode: 0o644 });
    print(`wrote ${units.map(({ name }) => join(directory, name)).join(" and ")}: systemctl daemon-reload && systemctl enable --now ${units.at(-1)?.name}\n`);
  }
}
