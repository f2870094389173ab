/** The hullmark command. */
import { VERSION } from "@hullmark/daemon/version";
import { Command } from "commander";
import { attestCommand } from "./commands/attest.ts";
import { completionCommand } from "./commands/completion.ts";
import { downCommand } from "./commands/down.ts";
import { driftCommand } from "./commands/drift.ts";
import { keygenCommand } from "./commands/keygen.ts";
import { imagesCommand, nodesCommand, workloadsCommand } from "./commands/lists.ts";
import { logCommand } from "./commands/log.ts";
import { nodeCommand } from "./commands/node.ts";
import { policyCommand } from "./commands/policy.ts";
import { signCommand } from "./commands/sign.ts";
import { statusCommand } from "./commands/status.ts";
import { upCommand } from "./commands/up.ts";
import { verifyCommand } from "./commands/verify.ts";
import { EXIT } from "./output/exit-codes.ts";

export function program(): Command {
  const output = {
    out: (text: string) => void process.stdout.write(text),
    err: (text: string) => void process.stderr.write(text),
    exit: (code: number) => {
      process.exitCode = code;
    },
  };
  const root = new Command("hullmark")
    .description("is what runs what was signed?")
    .version(VERSION)
    .option("--config <file>", "configuration with contexts (default $HULLMARK_CONFIG, ~/.config/hullmark/config.yaml or /etc/hullmark/config.yaml)")
    .option("--context <name>", "context to use instead of the current one")
    .showHelpAfterError("(--help shows how)")
    .addHelpText("after", "\nExit codes: 0 clean, 1 drift or a bad verdict, 2 wrong usage, 3 cannot tell");
  for (const command of [upCommand(), downCommand()]) root.addCommand(command);
  for (const command of [statusCommand(), nodesCommand(), nodeCommand(), workloadsCommand(), imagesCommand(), driftCommand()]) root.addCommand(command);
  for (const command of [verifyCommand(), signCommand(), attestCommand(), keygenCommand(), policyCommand(output), logCommand(output)]) root.addCommand(command);
  return root.addCommand(completionCommand(root));
}

/** Commander ends with 1 on wrong usage; here 1 means drift. */
function exitOnUsage(command: Command): void {
  command.exitOverride((error) => {
    process.exit(error.exitCode === 0 ? 0 : EXIT.usage);
  });
  for (const child of command.commands) exitOnUsage(child);
}

export async function main(argv: readonly string[]): Promise<void> {
  // A library's deprecations are ours to read, not the caller's.
  process.noDeprecation = true;
  const root = program();
  exitOnUsage(root);
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit();
    throw error;
  });
  await root.parseAsync([...argv]);
}

if (import.meta.main) await main(process.argv);
