/** `hullmark incident ls|show|ack|assign|resolve|export|verify`: the same drift on any number of nodes as one matter. */
import { counted } from "@hullmark/verifier/core/text/counted";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { type Asking, ask } from "../connection/run.ts";
import { acknowledgeIncident } from "../incident/acknowledge.ts";
import { fetchIncidents, findIncidents, type ToldIncident } from "../incident/fetch.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { incidentPage, incidentTable, incidentView } from "../output/incident-page.ts";
import { assignCommand, resolveCommand } from "./incident-decide.ts";
import { exportCommand, verifyCommand } from "./incident-record.ts";

const EXITS = "\nExit: 0 clean, 1 an incident stands, 2 usage, 3 cannot tell (none stands, something could not be judged)";

export function incidentCommand(): Command {
  const incident = new Command("incident");
  for (const each of [lsCommand(), showCommand(), ackCommand(), assignCommand(oneIncident), resolveCommand(oneIncident)]) incident.addCommand(each);
  for (const each of [exportCommand(oneIncident), verifyCommand()]) incident.addCommand(each);
  return incident;
}

const stands = ({ state }: ToldIncident): boolean => state !== "resolved";

function lsCommand(): Command {
  return new Command("ls")
    .description("incidents that stand, gravest first")
    .addOption(formatOption())
    .option("-a, --all", "also those that are resolved")
    .addHelpText("after", EXITS)
    .action(async ({ output, all }: { readonly output: Format; readonly all?: boolean }, command: Command) =>
      ask(command, async (asking) => {
        const { incidents, unknown } = await fetchIncidents(asking, all === true);
        const standing = incidents.filter(stands).length;
        if (isData(output)) asking.print(serialize(output, { incidents: incidents.map(incidentView), containersUnknown: unknown }));
        else {
          if (incidents.length > 0) asking.print(incidentTable(incidents, output === "wide", asking.nowMs));
          asking.print(`${standing === 0 ? "no incident" : standing === 1 ? "1 incident" : `${standing} incidents`}, ${unknown} containers unknown\n`);
        }
        return standing > 0 ? EXIT.drift : unknown > 0 ? EXIT.unknown : EXIT.clean;
      }),
    );
}

/** The one incident that is meant; else says what is wrong. */
export async function oneIncident(asking: Asking, id: string): Promise<ToldIncident | undefined> {
  // Whole, wherever it stands: a namespace says what lists show.
  const found = findIncidents((await fetchIncidents({ ...asking, namespace: undefined }, true)).incidents, id);
  if (found.length === 1) return found[0];
  const ids = found.slice(0, 10).map((each) => each.id);
  process.stderr.write(
    `hullmark: ${found.length === 0 ? `no such incident (${asking.command} incident ls -a lists them)` : `several are so named: ${ids.join(" ")}`}\n`,
  );
  return undefined;
}

function showCommand(): Command {
  return new Command("show")
    .description("one incident in full: what, where, since when, whose, and what happened in order")
    .argument("<id>", "for example I-4Z5NZVGWJ6S2DXM7, or how it begins")
    .addOption(formatOption())
    .addHelpText("after", EXITS)
    .action(async (id: string, { output }: { readonly output: Format }, command: Command) =>
      ask(command, async (asking) => {
        const incident = await oneIncident(asking, id);
        if (!incident) return EXIT.usage;
        asking.print(isData(output) ? serialize(output, incidentView(incident)) : incidentPage(incident, output === "wide", asking.nowMs, asking.command));
        return stands(incident) ? EXIT.drift : EXIT.clean;
      }),
    );
}

function ackCommand(): Command {
  return new Command("ack")
    .description("acknowledge every open drift of an incident, as shown now (responder role)")
    .argument("<id>", "for example I-4Z5NZVGWJ6S2DXM7, or how it begins")
    .requiredOption("-m, --reason <text>", "kept with each drift and in the log")
    .addHelpText("after", "\nExit: 0 all acknowledged, 2 usage, 3 some changed meanwhile: look again")
    .action(async (id: string, { reason }: { readonly reason: string }, command: Command) =>
      ask(command, async (asking) => {
        const incident = await oneIncident(asking, id);
        if (!incident) return EXIT.usage;
        asking.print(incidentPage(incident, false, asking.nowMs, asking.command));
        const { acknowledged, refused } = await acknowledgeIncident(asking, incident, reason);
        for (const { driftId, why } of refused) asking.print(`${driftId} not acknowledged: ${printable(why, 200)}\n`);
        asking.print(`${incident.id}: ${counted(acknowledged.length, "drift")} acknowledged\n`);
        return refused.length > 0 ? EXIT.unknown : EXIT.clean;
      }),
    );
}
