/** A command of the CLI run in this process, with what it printed and how it ended. */
import type { signCommand } from "hullmark/commands/sign";
import type { CommandIo, ExitCode } from "hullmark/signing/io";
import { AT_MS, never } from "./judging.ts";

export interface CommandRun {
  code: ExitCode | undefined;
  out: string;
  err: string;
}

/** @param nowMs Unix milliseconds: what the command takes for now */
export async function runCommand(
  make: (io: CommandIo) => ReturnType<typeof signCommand>,
  args: readonly string[],
  env: CommandIo["env"],
  nowMs: () => number = () => AT_MS,
): Promise<CommandRun> {
  const seen: CommandRun = { code: undefined, out: "", err: "" };
  const io: CommandIo = {
    out: (text) => {
      seen.out += text;
    },
    err: (text) => {
      seen.err += text;
    },
    env,
    now: nowMs,
    signal: never,
    exit: (code) => {
      seen.code = code;
    },
  };
  await make(io).parseAsync([...args], { from: "user" });
  return seen;
}
