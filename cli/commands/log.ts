/** `hullmark log verify|export`: the log checked without trusting whoever serves it. */
import { readFileSync, writeFileSync } from "node:fs";
import { printable } from "@hullmark/verifier/core/text/printable";
import { TransparencyError } from "@hullmark/verifier/core/transparency/errors";
import { type NoteVerifierKey, parseVerifierKey } from "@hullmark/verifier/core/transparency/note";
import { type LogVerification, verifyLog } from "@hullmark/verifier/core/transparency/verify";
import { Command } from "commander";
import { exportLog } from "../log/export.ts";
import { directoryResources, type ReadResource, resourceReader, urlResources } from "../log/readers.ts";

/** 0 verified · 1 tampered with · 2 wrong usage · 3 cannot tell (something is missing, unreadable, or not by this key). */
export const LOG_EXIT = { ok: 0, tampered: 1, usage: 2, incomplete: 3 } as const;

export interface CommandOutput {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Exit code of the process, once. */
  readonly exit: (code: number) => void;
}

interface SourceOptions {
  readonly url?: string;
  readonly dir?: string;
  readonly key: string;
}

interface VerifyOptions extends SourceOptions {
  readonly since?: string;
  readonly remember?: string;
  readonly output: string;
}

export function logCommand({ out, err, exit }: CommandOutput): Command {
  const log = new Command("log").description("check the tamper-evident log");
  const usage = (message: string) => {
    err(`hullmark log: ${message}\n`);
    exit(LOG_EXIT.usage);
  };
  log
    .command("verify")
    .description("verify signature, every entry, every tile and the root; with --since also that nothing remembered was rewritten")
    .option("--url <prefix>", "log served over HTTP, for example http://127.0.0.1:8080/log")
    .option("--dir <directory>", "log exported to a directory: works offline")
    .requiredOption("--key <file>", "verifier key of the log (one line, NAME+HASH+KEY)")
    .option("--since <checkpoint>", "file with a checkpoint remembered from earlier")
    .option("--remember <file>", "write the verified checkpoint there, for the next --since")
    .option("-o, --output <format>", "table or json", "table")
    .addHelpText("after", "\nExit: 0 verified, 1 tampered with, 2 wrong usage, 3 cannot tell")
    .action(async (options: VerifyOptions) => {
      if (options.output !== "table" && options.output !== "json") return usage(`--output ${printable(options.output)}: use table or json`);
      const input = prepare(options, options.since, usage);
      if (!input) return;
      const { read, key, since } = input;
      const result = await verifyLog(resourceReader(read), key, since);
      out(options.output === "json" ? `${JSON.stringify(verificationJson(result), null, 2)}\n` : verificationText(result));
      if (result.verdict === "ok" && options.remember !== undefined) writeFileSync(options.remember, result.note ?? "");
      exit(LOG_EXIT[result.verdict]);
    });
  log
    .command("export <directory>")
    .description("copy the log into a directory that any tile-log client can read; again and again into the same one")
    .option("--url <prefix>", "log served over HTTP")
    .option("--dir <directory>", "another exported copy")
    .requiredOption("--key <file>", "verifier key of the log")
    .action(async (directory: string, options: SourceOptions) => {
      const input = prepare(options, undefined, usage);
      if (!input) return;
      try {
        const { checkpoint, copied } = await exportLog(input.read, input.key, directory);
        out(`${checkpoint.size} entries in ${printable(directory)} (${copied} files copied)\n`);
        exit(LOG_EXIT.ok);
      } catch (error) {
        err(`hullmark log export: ${error instanceof Error ? printable(error.message) : "failed"}\n`);
        exit(LOG_EXIT.incomplete);
      }
    });
  return log;
}

function prepare(
  options: SourceOptions,
  sinceFile: string | undefined,
  usage: (message: string) => void,
): { read: ReadResource; key: NoteVerifierKey; since: string | undefined } | undefined {
  const { url, dir } = options;
  if ((url === undefined) === (dir === undefined)) return void usage("give either --url or --dir");
  if (url !== undefined && !/^https?:\/\//.test(url)) return void usage("--url is an http or https prefix");
  try {
    const key = parseVerifierKey(readFileSync(options.key, "utf8"));
    const since = sinceFile === undefined ? undefined : readFileSync(sinceFile, "utf8");
    return { read: url === undefined ? directoryResources(dir as string) : urlResources(url), key, since };
  } catch (error) {
    if (!(error instanceof TransparencyError) && !(error instanceof Error && "syscall" in error)) throw error;
    return void usage(printable(error.message));
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
