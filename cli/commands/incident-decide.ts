/** `hullmark incident assign|resolve`: whose an incident is, and that one is done with. */

import { Admin } from "@hullmark/proto/v1/admin";
import { Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Argument, Command } from "commander";
import { type Asking, ask } from "../connection/run.ts";
import type { ToldIncident } from "../incident/fetch.ts";
import { helpCalled } from "../kubectl/invocation.ts";
import { EXIT } from "../output/exit-codes.ts";
import { incidentPage } from "../output/incident-page.ts";

type Find = (asking: Asking, id: string) => Promise<ToldIncident | undefined>;

const ID = "for example I-4Z5NZVGWJ6S2DXM7, or how it begins";
const REASON = "kept with the incident and in the log";

export function assignCommand(find: Find): Command {
  return new Command("assign")
    .description("give an incident to a person or a team, whether or not they have acknowledged it (responder role)")
    .argument("<id>", ID)
    .addArgument(new Argument("[person]", "1 to 64 of A-Z a-z 0-9 . _ @ -"))
    .option("--me", "to yourself, as the verifier knows you")
    .option("--nobody", "to nobody, until somebody acknowledges it")
    .requiredOption("-m, --reason <text>", REASON)
    .addHelpText("after", "\nExit: 0 assigned, 2 usage; 3 refused: it changed since it was shown, look again")
    .action(async (id: string, person: string | undefined, options: AssignOptions, command: Command) => {
      const { me = false, nobody = false, reason } = options;
      if ([person !== undefined, me, nobody].filter(Boolean).length !== 1) command.error("error: give a person, --me or --nobody");
      await ask(command, async (asking) => {
        const shown = await show(asking, id, find);
        if (!shown) return EXIT.usage;
        const { channel, signal, print } = asking;
        const { owner } = await channel.client(Admin).assignIncident({ ...shown, owner: person ?? "", me, reason }, { signal });
        print(`${shown.id} is ${owner ? `given to ${printable(owner, 64)}` : "nobody's"}\n`);
        return EXIT.clean;
      });
    });
}

interface AssignOptions {
  readonly me?: boolean;
  readonly nobody?: boolean;
  readonly reason: string;
}

export function resolveCommand(find: Find): Command {
  return new Command("resolve")
    .description("say that an incident is done with, once all its drifts are over: if it returns it begins anew, and is no reopening (responder role)")
    .argument("<id>", ID)
    .requiredOption("-m, --reason <text>", REASON)
    .addHelpText(
      "after",
      helpCalled(
        "\nRefused while a drift of it stands. A drift is over by itself once it differs no more: put it right ({} playbook show ID), or have it excused by\nsomebody else ({} exception request DRIFT).\nExit: 0 resolved, 2 usage; 3 refused: a drift stands, or it changed since it was shown",
      ),
    )
    .action(async (id: string, { reason }: { readonly reason: string }, command: Command) =>
      ask(command, async (asking) => {
        const shown = await show(asking, id, find);
        if (!shown) return EXIT.usage;
        await asking.channel.client(Admin).resolveIncident({ ...shown, reason }, { signal: asking.signal });
        asking.print(`${shown.id} is done with\n`);
        return EXIT.clean;
      }),
    );
}

/** What the verifier has is fetched before what is shown is: whatever changes after it is refused. */
async function show(asking: Asking, id: string, find: Find): Promise<{ readonly id: string; readonly seen: string } | undefined> {
  const found = await find(asking, id);
  if (!found) return undefined;
  const { incident: told } = await asking.channel.client(Query).getIncident({ id: found.id, now: true }, { signal: asking.signal });
  const incident = await find(asking, found.id);
  if (!incident) return undefined;
  asking.print(incidentPage(incident, false, asking.nowMs, asking.command));
  return { id: incident.id, seen: told?.seen ?? "" };
}
