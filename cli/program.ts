/** The hullmark command with its words, also as a plugin of kubectl (`kubectl hullmark`). */
import { VERSION } from "@hullmark/daemon/version";
import { Command } from "commander";
import { completionCommand } from "./commands/completion.ts";
import { COMMANDS, HOST_COMMANDS } from "./commands/entries.ts";
import { completions } from "./kubectl/completion.ts";
import { type Invocation, invocationOf } from "./kubectl/invocation.ts";
import { DEFAULT_RELEASE } from "./kubectl/release.ts";
import { EXIT } from "./output/exit-codes.ts";

const EXIT_CODES = "\nExit codes: 0 clean, 1 drift or a bad verdict, 2 wrong usage, 3 cannot tell";

/**
 * @param as the plugin of kubectl has kubectl's options, and none of the commands that are for a Docker host
 * @param words of the command line: commands that are not among them stand in the help only; undefined: all are loaded
 */
export async function program(as: Invocation = "hullmark", words?: readonly string[]): Promise<Command> {
  const output = {
    out: (text: string) => void process.stdout.write(text),
    err: (text: string) => void process.stderr.write(text),
    exit: (code: number) => {
      process.exitCode = code;
    },
  };
  const root = as === "hullmark" ? command() : plugin();
  const whole = words === undefined || words.includes("completion");
  for (const { name, description, load } of as === "hullmark" ? [...HOST_COMMANDS, ...COMMANDS] : COMMANDS) {
    const each = whole || words.includes(name) ? await load(output) : new Command(name);
    root.addCommand(each.description(description));
  }
  return as === "hullmark" ? root.addCommand(completionCommand(root)) : root;
}

function command(): Command {
  return new Command("hullmark")
    .description("is what runs what was signed?")
    .version(VERSION)
    .configureHelp({ subcommandTerm: (each) => each.name() })
    .option("--config <file>", "configuration with contexts (default $HULLMARK_CONFIG, ~/.config/hullmark/config.yaml or /etc/hullmark/config.yaml)")
    .option("--context <name>", "context to use instead of the current one")
    .addHelpText("after", EXIT_CODES);
}

function plugin(): Command {
  return new Command("kubectl-hullmark")
    .usage("[options] [command]")
    .description("is what runs in this cluster what was signed?")
    .version(VERSION)
    .configureHelp({ subcommandTerm: (each) => each.name() })
    .option("--kubeconfig <file>", "as kubectl has it")
    .option("--context <name>", "as kubectl has it")
    .option("-n, --namespace <name>", "show what is in this namespace (default: the context's)")
    .option("-A, --all-namespaces", "show what is in every namespace, and on nodes")
    .option("--release <namespace/name>", "which Hullmark: its Helm release", process.env["HULLMARK_RELEASE"] ?? DEFAULT_RELEASE)
    .option("--as-role <role>", "ask as viewer, responder or admin (default: the most that you may)")
    .addHelpText("after", EXIT_CODES);
}

/** Commander ends with 1 on wrong usage; here 1 means drift. */
function exitOnUsage(command: Command): void {
  command.showHelpAfterError("(--help shows how)").exitOverride((error) => {
    process.exit(error.exitCode === 0 ? 0 : EXIT.usage);
  });
  for (const child of command.commands) exitOnUsage(child);
}

export async function main(argv: readonly string[]): Promise<void> {
  // A library's deprecations are ours to read, not the caller's.
  process.noDeprecation = true;
  const as = invocationOf(argv, process.argv0);
  const root = await program(as, argv.slice(2));
  if (as === "kubectl-completion") return void process.stdout.write(completions(root, argv.slice(2)));
  exitOnUsage(root);
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit();
    throw error;
  });
  await root.parseAsync([...argv]);
}
