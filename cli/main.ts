#!/usr/bin/env node
/** The hullmark command, also as a plugin of kubectl (`kubectl hullmark`). */
import { VERSION } from "@hullmark/daemon/version";
import { Command } from "commander";
import { actionCommand } from "./commands/action.ts";
import { alertCommand } from "./commands/alert.ts";
import { attestCommand } from "./commands/attest.ts";
import { baselineCommand } from "./commands/baseline.ts";
import { buildRecordCommand } from "./commands/build-record.ts";
import { completionCommand } from "./commands/completion.ts";
import { diffCommand } from "./commands/diff.ts";
import { downCommand } from "./commands/down.ts";
import { driftCommand } from "./commands/drift.ts";
import { drillCommand } from "./commands/drill.ts";
import { incidentCommand } from "./commands/incident.ts";
import { keygenCommand } from "./commands/keygen.ts";
import { keysCommand } from "./commands/keys.ts";
import { imagesCommand, nodesCommand, workloadsCommand } from "./commands/lists.ts";
import { logCommand } from "./commands/log.ts";
import { manifestCommand } from "./commands/manifest.ts";
import { nodeCommand } from "./commands/node.ts";
import { personCommand } from "./commands/person.ts";
import { playbookCommand } from "./commands/playbook.ts";
import { policyCommand } from "./commands/policy.ts";
import { promoteCommand } from "./commands/promote.ts";
import { signCommand } from "./commands/sign.ts";
import { statusCommand } from "./commands/status.ts";
import { upCommand } from "./commands/up.ts";
import { verifyCommand } from "./commands/verify.ts";
import { completions } from "./kubectl/completion.ts";
import { type Invocation, invocationOf } from "./kubectl/invocation.ts";
import { DEFAULT_RELEASE } from "./kubectl/release.ts";
import { EXIT } from "./output/exit-codes.ts";

const EXIT_CODES = "\nExit codes: 0 clean, 1 drift or a bad verdict, 2 wrong usage, 3 cannot tell";

/** @param as the plugin of kubectl has kubectl's options, and none of the commands that are for a Docker host */
export function program(as: Invocation = "hullmark"): Command {
  const output = {
    out: (text: string) => void process.stdout.write(text),
    err: (text: string) => void process.stderr.write(text),
    exit: (code: number) => {
      process.exitCode = code;
    },
  };
  const root = as === "hullmark" ? command() : plugin();
  if (as === "hullmark") for (const each of [upCommand(), downCommand()]) root.addCommand(each);
  for (const each of [statusCommand(), nodesCommand(), nodeCommand(), workloadsCommand(), imagesCommand()]) root.addCommand(each);
  for (const each of [driftCommand(), incidentCommand(), playbookCommand(), actionCommand(), alertCommand(), drillCommand()]) root.addCommand(each);
  for (const each of [
    verifyCommand(),
    diffCommand(),
    promoteCommand(),
    signCommand(),
    attestCommand(),
    manifestCommand(),
    buildRecordCommand(),
    keygenCommand(),
    policyCommand(output),
    logCommand(output),
  ])
    root.addCommand(each);
  for (const each of [baselineCommand(), keysCommand(), personCommand()]) root.addCommand(each);
  return as === "hullmark" ? root.addCommand(completionCommand(root)) : root;
}

function command(): Command {
  return new Command("hullmark")
    .description("is what runs what was signed?")
    .version(VERSION)
    .option("--config <file>", "configuration with contexts (default $HULLMARK_CONFIG, ~/.config/hullmark/config.yaml or /etc/hullmark/config.yaml)")
    .option("--context <name>", "context to use instead of the current one")
    .addHelpText("after", EXIT_CODES);
}

function plugin(): Command {
  return new Command("kubectl-hullmark")
    .usage("[options] [command]")
    .description("is what runs in this cluster what was signed?")
    .version(VERSION)
    .option("--kubeconfig <file>", "as kubectl has it")
    .option("--context <name>", "as kubectl has it")
    .option("-n, --namespace <name>", "show what is in this namespace (default: the context's)")
    .option("-A, --all-namespaces", "show what is in every namespace, and on nodes")
    .option("--release <namespace/name>", "which Hullmark: its Helm release", process.env["HULLMARK_RELEASE"] ?? DEFAULT_RELEASE)
    .option("--role <role>", "ask as viewer, responder or admin (default: the most that you may)")
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
  const root = program(as);
  if (as === "kubectl-completion") return void process.stdout.write(completions(root, argv.slice(2)));
  exitOnUsage(root);
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit();
    throw error;
  });
  await root.parseAsync([...argv]);
}

/** What nobody foresaw is a defect, and tells nothing of what was asked about: Node's own exit code for it is 1, which means drift here. */
async function run(): Promise<void> {
  try {
    await main(process.argv);
  } catch (error) {
    process.stderr.write(`hullmark: an unexpected error, please report it: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(EXIT.unknown);
  }
}

// Undefined in a Node too old to say: then nothing must look as if it had been done.
if (import.meta.main !== false) await run();
