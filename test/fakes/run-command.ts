/** Runs a subcommand in this process, as `hullmark` would, and keeps what it said. */
import type { CommandOutput, logCommand } from "hullmark/commands/log";

/** By way of the CLI, whose version of commander it is. */
type Command = ReturnType<typeof logCommand>;

export async function runCommand(make: (output: CommandOutput) => Command, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err, code] = ["", "", -1];
  const command = make({
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    exit: (value) => {
      code = value;
    },
  });
  await command.parseAsync(args, { from: "user" });
  return { code, out, err };
}
