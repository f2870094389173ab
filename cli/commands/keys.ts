/** `hullmark keys ls|rotate|retire|trust`: the verifier's own keys, and what to know it by. */

import { Admin } from "@hullmark/proto/v1/admin";
import { type OwnKey, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { ContextError } from "../connection/context-error.ts";
import { ask, contextOf } from "../connection/run.ts";
import { isPlugin } from "../kubectl/invocation.ts";
import { because } from "../output/because.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { replaceFile } from "../output/replace-file.ts";
import { table } from "../output/table.ts";
import { age, isoTime, toMs } from "../output/words.ts";

const REASON = "-m, --reason <text>";

export function keysCommand(): Command {
  const keys = new Command("keys");
  for (const each of [lsCommand(), rotateCommand(), retireCommand(), trustCommand()]) keys.addCommand(each);
  return keys;
}

const isDue = ({ dueAt }: OwnKey, nowMs: number): boolean => nowMs >= (toMs(dueAt) ?? Number.POSITIVE_INFINITY);

function lsCommand(): Command {
  return new Command("ls")
    .description("the verifier's own keys, and which of them should be replaced or retired")
    .addOption(formatOption())
    .addHelpText("after", "\nExit: 0 none is due, 1 one should be replaced or retired, 2 usage, 3 cannot tell")
    .action(async ({ output }: { readonly output: Format }, command: Command) =>
      ask(command, async ({ channel, signal, print, nowMs }) => {
        const { keys } = await channel.client(Query).listKeys({}, { signal });
        const shown = keys.map((key) => ({
          name: key.name,
          id: key.id,
          state: key.state,
          madeAt: isoTime(key.madeAt),
          dueAt: isoTime(key.dueAt),
          due: isDue(key, nowMs),
        }));
        if (isData(output)) print(serialize(output, { keys: shown }));
        else {
          const rows = keys.map((key) => [printable(key.name, 16), printable(key.id, 16), age(key.madeAt, nowMs), printable(key.state, 16), todo(key, nowMs)]);
          print(table(["KEY", "ID", "AGE", "STATE", "TO DO"], rows));
        }
        return shown.some(({ due }) => due) ? EXIT.drift : EXIT.clean;
      }),
    );
}

function todo(key: OwnKey, nowMs: number): string {
  const what = key.state === "accepted" ? "retire" : "rotate";
  const dueMs = toMs(key.dueAt);
  return isDue(key, nowMs) ? `${what} now` : dueMs === undefined ? "" : `${what} before ${new Date(dueMs).toISOString().slice(0, 10)}`;
}

function rotateCommand(): Command {
  return new Command("rotate")
    .description("put a new key in the place of one; what the old one signed is accepted until it is retired (admins)")
    .argument("<key>", "as keys ls names it")
    .requiredOption(REASON, "why: it is logged")
    .addHelpText("after", "\nWhat follows from it for agents and people: docs/keys.md. Exit: 0 rotated, 2 usage or no right, 3 cannot tell")
    .action(async (name: string, { reason }: { readonly reason: string }, command: Command) =>
      ask(command, async ({ channel, print, signal }) => {
        const { id } = await channel.client(Admin).rotateKey({ name, reason }, { signal });
        print(`${printable(name, 16)}: ${printable(id, 16)} is in use\n`);
        return EXIT.clean;
      }),
    );
}

function retireCommand(): Command {
  return new Command("retire")
    .description("accept no more what the key signed that gave way (admins)")
    .argument("<key>", "as keys ls names it")
    .requiredOption(REASON, "why: it is logged")
    .addHelpText("after", "\nWho still relies on it must be brought the new one: docs/keys.md. Exit: 0 retired, 2 usage or no right, 3 cannot tell")
    .action(async (name: string, { reason }: { readonly reason: string }, command: Command) =>
      ask(command, async ({ channel, print, signal }) => {
        const { ids } = await channel.client(Admin).retireKey({ name, reason }, { signal });
        print(`${printable(name, 16)}: ${printable(ids.join(" "), 200)} counts no more\n`);
        return EXIT.clean;
      }),
    );
}

function trustCommand(): Command {
  return new Command("trust")
    .description("take over from the verifier, known by what the context names, what it is known by from now on: into the context's caFile and logKeyFile")
    .addHelpText("after", "\nAfter a rotation, for people who have files of their own. Exit: 0 up to date, 2 usage, 3 cannot tell")
    .action(async (_options: unknown, command: Command) => {
      if (isPlugin(command)) {
        process.stdout.write("nothing to bring up to date: kubectl hullmark takes all it knows the verifier by from the cluster, each time anew\n");
        process.exitCode = EXIT.clean;
        return;
      }
      await ask(command, async ({ channel, print, signal }) => {
        const { caFile, logKeyFile } = contextOf(command);
        const { caCertificates, logVerifierKeys } = await channel.client(Query).listKeys({}, { signal });
        replace(caFile, caCertificates);
        if (logKeyFile !== undefined) replace(logKeyFile, logVerifierKeys);
        print(`up to date: ${[caFile, ...(logKeyFile === undefined ? [] : [logKeyFile])].map((file) => printable(file)).join(", ")}\n`);
        return EXIT.clean;
      });
    });
}

function replace(path: string, content: string): void {
  try {
    replaceFile(path, content, 0o644);
  } catch (cause) {
    throw new ContextError(`${path} cannot be written: ${because(cause)}`, { cause });
  }
}
