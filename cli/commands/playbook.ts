/** `hullmark playbook show INCIDENT`: what to do about it. */
import { Command } from "commander";
import { ask } from "../connection/run.ts";
import { EXIT } from "../output/exit-codes.ts";
import { playbookPage } from "../playbook/page.ts";
import { PLAYBOOKS } from "../playbook/text.ts";
import { oneIncident } from "./incident.ts";

export function playbookCommand(): Command {
  const show = new Command("show")
    .description("what to do about an incident, with its names in the commands")
    .argument("<incident>", "for example I-4Z5NZVGWJ6S2DXM7, or how it begins")
    .addHelpText("after", "\nExit: 0 shown, 2 usage, 3 cannot tell")
    .action(async (id: string, _options: unknown, command: Command) =>
      ask(command, async (asking) => {
        const incident = await oneIncident(asking, id);
        if (!incident) return EXIT.usage;
        asking.print(playbookPage(PLAYBOOKS, incident, asking.command));
        return EXIT.clean;
      }),
    );
  return new Command("playbook").addCommand(show);
}
