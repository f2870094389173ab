/** `hullmark incident export|verify`: an incident in one file that proves itself, with what was captured beside it. */
import { existsSync } from "node:fs";
import { open, writeFile } from "node:fs/promises";
import { RpcError } from "@hullmark/proto/rpc";
import { Query } from "@hullmark/proto/v1/query";
import { counted } from "@hullmark/verifier/core/text/counted";
import { printable } from "@hullmark/verifier/core/text/printable";
import { TransparencyError } from "@hullmark/verifier/core/transparency/errors";
import { parseVerifierKeys } from "@hullmark/verifier/core/transparency/note";
import { Command } from "commander";
import { ContextError } from "../connection/context-error.ts";
import { type Asking, ask, contextOf } from "../connection/run.ts";
import { besideRecord, capturedIn, capturesBeside, fetchBeside } from "../incident/captures.ts";
import type { ToldIncident } from "../incident/fetch.ts";
import { MAX_RECORD_BYTES, makeRecord, type RecordVerification, verifyRecord, verifyRecordWithLog } from "../incident/record.ts";
import { KubectlError } from "../kubectl/kubectl.ts";
import { resourceReader } from "../log/readers.ts";
import { logSource, readText, type SourceOptions } from "../log/source.ts";
import { because } from "../output/because.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { verificationText, verificationView } from "../output/record-page.ts";

const KEY_OPTION = "verifier key of the log, one line NAME+HASH+KEY (default: the context's; one that came by another way proves more)";

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
          const record = await makeRecord(incident, resourceReader(log.read), log.key, await namespacesOf(asking));
          await writeFile(file, record, { flag: "wx", mode: 0o600 });
          asking.print(`${incident.id} with ${counted(incident.members.length, "drift")} in ${printable(file)}\n`);
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

/** In which the role holds; undefined: all. What is named by its id is exported wherever it stands. */
async function namespacesOf({ channel, signal }: Asking): Promise<readonly string[] | undefined> {
  const { namespaces } = await channel.client(Query).getStatus({}, { signal });
  return namespaces.length > 0 ? namespaces : undefined;
}

interface ExportOptions extends SourceOptions {
  readonly captures?: boolean;
  readonly reason?: string;
}

export function verifyCommand(): Command {
  return new Command("verify")
    .description(
      "verify an exported incident offline: what it says of the incident is in the log, and the log's key has signed it, and captures beside it are those of the log; with a log also that nothing about it was left out",
    )
    .argument("<file>", "as `incident export` wrote it, with captures beside it where there are any")
    .option("--url <prefix>", "also hold it against this log, served over HTTP")
    .option("--dir <directory>", "also hold it against this exported copy of the log")
    .option("--key <file>", KEY_OPTION)
    .addOption(formatOption())
    .addHelpText("after", "\nExit: 0 verified, 1 tampered with, 2 usage, 3 cannot tell (something is missing, or not by this key)")
    .action(async (file: string, options: VerifyOptions, command: Command) => {
      try {
        const result = await verified(await readBounded(file), options, command);
        const captures = await capturesBeside(file, result.entries);
        const verdict = captures.some((each) => each.file === "other") ? "tampered" : result.verdict;
        const whole = { ...result, verdict };
        process.stdout.write(isData(options.output) ? serialize(options.output, verificationView(whole, captures)) : verificationText(whole, captures));
        process.exitCode = { ok: EXIT.clean, tampered: EXIT.drift, incomplete: EXIT.unknown }[verdict];
      } catch (error) {
        process.exitCode = notDone("verify", error);
      }
    });
}

interface VerifyOptions extends SourceOptions {
  readonly output: Format;
}

async function verified(record: string, options: VerifyOptions, command: Command): Promise<RecordVerification> {
  if (options.url !== undefined || options.dir !== undefined) {
    await using log = await logSource(options, command, new AbortController().signal);
    return await verifyRecordWithLog(record, resourceReader(log.read), log.key);
  }
  const keyFile = options.key ?? contextOf(command).logKeyFile;
  if (keyFile === undefined) throw new ContextError("the context names no key of the log (logKeyFile): give --key");
  return verifyRecord(record, parseVerifierKeys(readText(keyFile)));
}

function notDone(what: string, error: unknown): number {
  // What the verifier and kubectl say is told where every command tells it.
  if (!(error instanceof Error) || error instanceof RpcError || error instanceof KubectlError) throw error;
  const said = "syscall" in error ? `${"path" in error ? `${error.path}: ` : ""}${because(error)}` : error.message;
  process.stderr.write(`hullmark incident ${what}: ${printable(said, 1000)}\n`);
  const usage = error instanceof ContextError || "syscall" in error || (error instanceof TransparencyError && error.code === "BAD_KEY");
  return usage ? EXIT.usage : EXIT.unknown;
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
