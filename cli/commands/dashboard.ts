/** `hullmark dashboard`: the way into the verifier's page for a browser. */

import { Admin } from "@hullmark/proto/v1/admin";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { ask, contextOf } from "../connection/run.ts";
import { isPlugin } from "../kubectl/invocation.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { toMs } from "../output/words.ts";

export function dashboardCommand(): Command {
  return new Command("dashboard")
    .addOption(formatOption())
    .addHelpText(
      "after",
      "\nWhoever opens the address is you: give it to nobody. In a cluster, first: kubectl port-forward service/…-verifier 7446\nExit: 0 done, 2 usage or no right, 3 cannot tell, or there is no dashboard",
    )
    .action(async ({ output }: { readonly output: Format }, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        const { code, expiresAt, url, port } = await channel.client(Admin).openDashboard({}, { signal });
        const host = isPlugin(command) ? "localhost" : contextOf(command).address.replace(/:\d+$/, "");
        const address = `${url === "" ? `https://${host}:${port}` : url.replace(/\/+$/, "")}/#${code}`;
        if (isData(output)) print(serialize(output, { url: address, expiresAt: new Date(toMs(expiresAt) ?? 0).toISOString() }));
        else print(`${printable(address, 1000)}\n`);
        return EXIT.clean;
      }),
    );
}
