/** `hullmark down`: what `hullmark up` made, away again. */
import { Command } from "commander";
import { down } from "../host/down.ts";
import { DEFAULT_STATE } from "../host/layout.ts";
import { hostCommand, print } from "./up.ts";

export function downCommand(): Command {
  return new Command("down")
    .option("--state <dir>", "where everything is kept", DEFAULT_STATE)
    .option("--keep-state", "keep keys, log and what is known, for a later up")
    .addHelpText("after", "\nExit: 0 down, 2 usage, 3 something could not be stopped")
    .action(async ({ state, keepState }: { readonly state: string; readonly keepState?: boolean }) =>
      hostCommand(() => down({ state, keepState: keepState === true, print })),
    );
}
