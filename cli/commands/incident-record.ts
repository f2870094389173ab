/** `hullmark incident export|verify`: an incident in one file that proves itself, with what was captured beside it. */
import { existsSync } from "node:fs";
import { open, writeFile } from "node:fs/promises";
import { RpcError } from "@hullmark/proto/rpc";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { LogValue } from "@hullmark/verifier/core/transparency/entry";
import { TransparencyError } from "@hullmark/verifier/core/transparency/errors";
import { parseVerifierKeys } from "@hullmark/verifier/core/transparency/note";
import { Command } from "commander";
import { ContextError } from "../connection/context-error.ts";
import { type Asking, ask, contextOf } from "../connection/run.ts";
import { besideRecord, type CaptureHeld, capturedIn, capturesBeside, fetchBeside } from "../incident/captures.ts";
import type { ToldIncident } from "../incident/fetch.ts";
import { MAX_RECORD_BYTES, makeRecord, type RecordVerification, verifyRecord } from "../incident/record.ts";
import { KubectlError } from "../kubectl/kubectl.ts";
import { resourceReader } from "../log/readers.ts";
import { logSource, readText, type SourceOptions } from "../log/source.ts";
import { because } from "../output/because.ts";
import { EXIT } from "../output/exit-codes.ts";

const KEY_OPTION = "verifier key of the log, one line NAME+HASH+KEY (default: the context's; one that came by another way proves more)";
/** Entries that `verify` prints. */
const MAX_SHOWN = 100;

/** @param find the incident that an id means; says itself where there is none */
export function exportCommand(find: (asking: Asking, id: string) => Promise<ToldIncident | undefined>): Command {
  return new Command("export")
    .description("write an incident into one file, with the log's entries about it and the proofs that they are in the log")
    .argument("<id>", "for example I-4Z5NZVGWJ6S2DXM7, or how it begins")
    .argument("<file>", "must not be there yet")
    .option("--url <prefix>", "log served over HTTP (default: the context's, or the cluster's)")
    .option("--dir <directory>", "an exported copy of the log")
    .option("--key <file>", KEY_OPTION)
    .option("--captures", "beside it, as FILE.ACTION.age, what was captured of its containers, sealed for the responders (responder role)")
    .option("-m, --reason <text>", "why you fetch them: kept in the log")
    .addHelpText(
      "after",
      "\nExit: 0 written, 2 usage, 3 not written, or not with every capture: the log cannot be read, or does not have all of it yet; a capture is not to be had",
    )
    .action(async (id: string, file: string, options: ExportOptions, command: Command) => {
      const { reason } = options;
      if ((options.captures === true) !== (reason !== undefined)) command.error("error: give --captures and --reason, or neither");
      await ask(command, async (asking) => {
        try {
          await using log = await logSource(options, command, asking.signal);
          const incident = await find(asking, id);
          if (!incident) return EXIT.usage;
          const actions = capturedIn(incident);
          const wanted = reason === undefined ? [] : actions;
          const there = [file, ...wanted.map((action) => besideRecord(file, action.id))].find((path) => existsSync(path));
          if (there !== undefined) throw new ContextError(`${there}: it is there already`);
          const record = await makeRecord(incident, resourceReader(log.read), log.key);
          await writeFile(file, record, { flag: "wx", mode: 0o600 });
          asking.print(`${incident.id} with ${incident.members.length} drifts in ${printable(file)}\n`);
          const fetched = reason === undefined ? [] : await fetchBeside(asking, file, wanted, reason);
          for (const { action, why } of fetched)
            asking.print(`${action} ${why === undefined ? `in ${printable(besideRecord(file, action))}` : `not fetched: ${printable(why, 200)}`}\n`);
          if (reason === undefined && actions.length > 0) asking.print(`${actions.length} captures are not in it: --captures -m REASON\n`);
          return fetched.some(({ why }) => why !== undefined) ? EXIT.unknown : EXIT.clean;
        } catch (error) {
          return notDone("export", error);
        }
      });
    });
}

interface ExportOptions extends SourceOptions {
  readonly captures?: boolean;
  readonly reason?: string;
}

export function verifyCommand(): Command {
  return new Command("verify")
    .description(
      "verify an exported incident offline: what it says of its drifts is in the log, and the log's key has signed it, and captures beside it are those of the log",
    )
    .argument("<file>", "as `incident export` wrote it, with captures beside it where there are any")
    .option("--key <file>", KEY_OPTION)
    .addHelpText("after", "\nExit: 0 verified, 1 tampered with, 2 usage, 3 cannot tell (something is missing, or not by this key)")
    .action(async (file: string, options: { readonly key?: string }, command: Command) => {
      try {
        const keyFile = options.key ?? contextOf(command).logKeyFile;
        if (keyFile === undefined) throw new ContextError("the context names no key of the log (logKeyFile): give --key");
        const result = verifyRecord(await readBounded(file), parseVerifierKeys(readText(keyFile)));
        const captures = await capturesBeside(file, result.entries);
        const verdict = captures.some((each) => each.file === "other") ? "tampered" : result.verdict;
        process.stdout.write(verificationText({ ...result, verdict }, captures));
        process.exitCode = { ok: EXIT.clean, tampered: EXIT.drift, incomplete: EXIT.unknown }[verdict];
      } catch (error) {
        process.exitCode = notDone("verify", error);
      }
    });
}

function notDone(what: string, error: unknown): number {
  // What the verifier and kubectl say is told where every command tells it.
  if (!(error instanceof Error) || error instanceof RpcError || error instanceof KubectlError) throw error;
  const said = "syscall" in error ? `${"path" in error ? `${error.path}: ` : ""}${because(error)}` : error.message;
  process.stderr.write(`hullmark incident ${what}: ${printable(said, 1000)}\n`);
  const usage = error instanceof ContextError || "syscall" in error || (error instanceof TransparencyError && error.code === "BAD_KEY");
  return usage ? EXIT.usage : EXIT.unknown;
}

/** Members of an entry that are printed. */
const SAID = ["action", "id", "exception", "drift", "kind", "state", "severity", "path", "summary", "who", "capture", "owner", "by", "reason"];

function wordOf(value: LogValue): string {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return String(value);
  return Object.entries(value)
    .map(([name, each]) => `${name} ${String(each)}`)
    .join(" ");
}

/** @throws the system's error; TransparencyError OUT_OF_RANGE for a file larger than a record may be */
async function readBounded(path: string): Promise<string> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    if (size > MAX_RECORD_BYTES) throw new TransparencyError("OUT_OF_RANGE", `${path}: ${size} bytes, limit ${MAX_RECORD_BYTES}`);
    return await file.readFile("utf8");
  } finally {
    await file.close();
  }
}

const HELD: Readonly<Record<CaptureHeld["file"], string>> = { same: "✓ is beside it, as captured", other: "✗ is another", missing: "- is not beside it" };

function verificationText({ verdict, id, drifts, findings, unproven, entries }: RecordVerification, captures: readonly CaptureHeld[]): string {
  const word = { ok: "VERIFIED", tampered: "TAMPERED WITH", incomplete: "CANNOT TELL" }[verdict];
  const lines = [`${word}  ${printable(id, 40)}  ${drifts} drifts, ${entries.length} entries of the log`];
  for (const { verdict: kind, message } of findings.slice(0, MAX_SHOWN)) lines.push(`  ${kind === "tampered" ? "✗" : "?"} ${printable(message, 400)}`);
  for (const each of unproven.slice(0, MAX_SHOWN)) lines.push(`  - ${printable(each, 200)}: not as in its entry, and so since by the word of whoever exported`);
  for (const { action, digest, index, file } of captures.slice(0, MAX_SHOWN))
    lines.push(`  ${HELD[file].slice(0, 1)} capture of ${action} (${digest}, entry ${index})${HELD[file].slice(1)}`);
  for (const { index, timeMs, type, fields } of entries.slice(0, MAX_SHOWN)) {
    const said = SAID.flatMap((name) => (fields[name] === undefined || fields[name] === null ? [] : [`${name} ${wordOf(fields[name])}`]));
    lines.push(`  #${index} ${new Date(timeMs).toISOString()} ${type}: ${printable(said.join(" · "), 400)}`);
  }
  if (entries.length > MAX_SHOWN) lines.push(`  and ${entries.length - MAX_SHOWN} entries more`);
  if (verdict === "ok") lines.push("Proven is what these entries say. Other times in the file, and its timeline, are the word of whoever exported it.");
  return `${lines.join("\n")}\n`;
}
