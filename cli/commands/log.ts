/** `hullmark log verify|export|accept`: the log checked without trusting whoever serves it, and what to say when a part of it is known to be lost. */
import { writeFileSync } from "node:fs";
import { Admin } from "@hullmark/proto/v1/admin";
import { printable } from "@hullmark/verifier/core/text/printable";
import { TransparencyError } from "@hullmark/verifier/core/transparency/errors";
import { type LogVerification, verifyLog } from "@hullmark/verifier/core/transparency/verify";
import { Command } from "commander";
import { ContextError } from "../connection/context-error.ts";
import { ask } from "../connection/run.ts";
import { KubectlError } from "../kubectl/kubectl.ts";
import { exportLog } from "../log/export.ts";
import { resourceReader } from "../log/readers.ts";
import { type LogSource, logSource, readText, type SourceOptions } from "../log/source.ts";
import { because } from "../output/because.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";

/** 0 verified · 1 tampered with · 2 wrong usage · 3 cannot tell (something is missing, unreadable, or not by this key). */
export const LOG_EXIT = { ok: 0, tampered: 1, usage: 2, incomplete: 3 } as const;

const KEY_OPTION = "verifier key of the log, one line NAME+HASH+KEY (default: the context's, or the cluster's; one that came by another way proves more)";

export interface CommandOutput {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Exit code of the process, once. */
  readonly exit: (code: number) => void;
}

interface VerifyOptions extends SourceOptions {
  readonly since?: string;
  readonly remember?: string;
  readonly output: Format;
}

export function logCommand({ out, err, exit }: CommandOutput): Command {
  const log = new Command("log");
  const failed = (message: string, code: number): void => {
    err(`hullmark log: ${message}\n`);
    exit(code);
  };
  log
    .command("verify")
    .description("verify signature, every entry, every tile and the root; with --since also that nothing remembered was rewritten")
    .option("--url <prefix>", "log served over HTTP, for example http://127.0.0.1:7480/log (default: the context's, or the cluster's)")
    .option("--dir <directory>", "log exported to a directory: works offline")
    .option("--key <file>", KEY_OPTION)
    .option("--since <checkpoint>", "file with a checkpoint remembered from earlier")
    .option("--remember <file>", "write the verified checkpoint there, for the next --since")
    .addOption(formatOption())
    .addHelpText("after", "\nExit: 0 verified, 1 tampered with, 2 wrong usage, 3 cannot tell")
    .action(async (options: VerifyOptions, command: Command) => {
      await using input = await prepare(options, command, options.since, failed);
      if (!input) return;
      const { read, key, since } = input;
      const result = await verifyLog(resourceReader(read), key, since);
      out(isData(options.output) ? serialize(options.output, verificationJson(result)) : verificationText(result));
      const kept = result.verdict !== "ok" || remembered(options.remember, result.note ?? "", err);
      exit(kept ? LOG_EXIT[result.verdict] : LOG_EXIT.incomplete);
    });
  log
    .command("export <directory>")
    .description("copy the log into a directory that any tile-log client can read; again and again into the same one")
    .option("--url <prefix>", "log served over HTTP (default: the context's, or the cluster's)")
    .option("--dir <directory>", "another exported copy")
    .option("--key <file>", KEY_OPTION)
    .addHelpText("after", "\nExit: 0 copied, 2 wrong usage, 3 not copied")
    .action(async (directory: string, options: SourceOptions, command: Command) => {
      await using input = await prepare(options, command, undefined, failed);
      if (!input) return;
      try {
        const { checkpoint, copied } = await exportLog(input.read, input.key, directory);
        out(`${checkpoint.size} entries in ${printable(directory)} (${copied} files copied)\n`);
        exit(LOG_EXIT.ok);
      } catch (error) {
        const ofSystem = error instanceof Error && "syscall" in error;
        err(`hullmark log export: ${printable(ofSystem ? `${directory} cannot be written: ${because(error)}` : (error as Error).message, 1000)}\n`);
        exit(LOG_EXIT.incomplete);
      }
    });
  return log.addCommand(acceptCommand());
}

function acceptCommand(): Command {
  return new Command("accept")
    .description("say that the entries which agents remember are known to be lost: an older database was restored on purpose (admins)")
    .requiredOption("--reason <text>", "why: it is logged")
    .addHelpText("after", "\nLook first: docs/playbooks.md#log. Exit: 0 accepted, 2 usage or nothing to accept, 3 cannot tell")
    .action(async ({ reason }: { readonly reason: string }, command: Command) =>
      ask(command, async ({ channel, print, signal }) => {
        const { size } = await channel.client(Admin).acceptHistory({ reason }, { signal });
        print(`accepted: a history of ${size} entries is lost\n`);
        return EXIT.clean;
      }),
    );
}

async function prepare(
  options: SourceOptions,
  command: Command,
  sinceFile: string | undefined,
  failed: (message: string, code: number) => void,
): Promise<(LogSource & { readonly since: string | undefined }) | undefined> {
  try {
    const since = sinceFile === undefined ? undefined : readText(sinceFile);
    return { ...(await logSource(options, command, new AbortController().signal)), since };
  } catch (error) {
    if (!(error instanceof TransparencyError || error instanceof ContextError || error instanceof KubectlError)) throw error;
    const away = error instanceof KubectlError && error.code === "UNREACHABLE";
    return void failed(printable(error.message, 1000), away ? LOG_EXIT.incomplete : LOG_EXIT.usage);
  }
}

/** @returns false where it could not be written, which is said */
function remembered(path: string | undefined, note: string, err: (text: string) => void): boolean {
  try {
    if (path !== undefined) writeFileSync(path, note);
    return true;
  } catch (error) {
    err(`hullmark log: ${printable(`${path} cannot be written: ${because(error)}`, 1000)}\n`);
    return false;
  }
}

function verificationText({ verdict, checkpoint, since, findings, entries, tiles, types }: LogVerification): string {
  const lines: string[] = [];
  const word = { ok: "VERIFIED", tampered: "TAMPERED WITH", incomplete: "CANNOT TELL" }[verdict];
  lines.push(checkpoint ? `${word}  ${printable(checkpoint.origin)}  size ${checkpoint.size}  root ${checkpoint.root.toString("base64")}` : word);
  for (const { verdict: kind, where, message } of findings) lines.push(`  ${kind === "tampered" ? "✗" : "?"} ${printable(where)}: ${printable(message)}`);
  lines.push(`  ${entries} entries and ${tiles} tiles checked`);
  if (verdict === "ok" && since) lines.push(`  consistent with the remembered checkpoint of size ${since.size}`);
  const counts = Object.entries(types).map(([type, count]) => `${count} ${type}`);
  if (counts.length > 0) lines.push(`  ${counts.join(" · ")}`);
  return `${lines.join("\n")}\n`;
}

/** The stable form of `-o json`. */
function verificationJson({ verdict, checkpoint, since, findings, entries, tiles, types }: LogVerification): unknown {
  const shown = (value: typeof checkpoint) => value && { origin: value.origin, size: value.size, root: value.root.toString("base64") };
  return { verdict, checkpoint: shown(checkpoint), since: shown(since), entries, tiles, types, findings };
}
