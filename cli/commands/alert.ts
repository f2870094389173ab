/** `hullmark alert test`: does anybody hear of it? */
import { Admin } from "@hullmark/proto/v1/admin";
import { Severity } from "@hullmark/proto/v1/common";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command, Option } from "commander";
import { ask } from "../connection/run.ts";
import { EXIT } from "../output/exit-codes.ts";

const SEVERITIES = { info: Severity.INFO, low: Severity.LOW, medium: Severity.MEDIUM, high: Severity.HIGH, critical: Severity.CRITICAL } as const;
type SeverityWord = keyof typeof SEVERITIES;

export function alertCommand(): Command {
  return new Command("alert").addCommand(testCommand());
}

function testCommand(): Command {
  const severity = new Option("--severity <word>", "of the test alert").choices(Object.keys(SEVERITIES)).default("low");
  return new Command("test")
    .description("send a harmless alert now, past severity floor and rate limit; it says that it is a test (admin role)")
    .argument("[route]", "its name in the policy; without one, every route")
    .addOption(severity)
    .addHelpText("after", "\nExit: 0 every route took it, 1 one did not, 2 usage or no such route, 3 cannot tell")
    .action(async (route: string | undefined, options: { readonly severity: SeverityWord }, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        const request = { route: route ?? "", severity: SEVERITIES[options.severity] };
        const { delivered, failed } = await channel.client(Admin).testAlert(request, { signal });
        for (const name of delivered) print(`${printable(name, 128)}: taken\n`);
        for (const why of failed) print(`${printable(why, 500)}\n`);
        if (failed.length > 0) return EXIT.drift;
        if (delivered.length > 0) return EXIT.clean;
        process.stderr.write(
          `hullmark: ${route === undefined ? "the policy has no alert route that works" : "no such alert route, or it cannot work (see the verifier's log)"}\n`,
        );
        return EXIT.usage;
      }),
    );
}
