/** `hullmark capture ls|get`: what was kept of containers before they were acted on, sealed for the responders. */
import { existsSync } from "node:fs";
import { type Action, Response } from "@hullmark/proto/v1/response";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { all, PAGE_SIZE } from "../connection/pages.ts";
import { ask } from "../connection/run.ts";
import { fetchedCapture, isNamed } from "../incident/captures.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { table } from "../output/table.ts";
import { age, captureTellerWord, isoTime, toMs } from "../output/words.ts";

export function captureCommand(): Command {
  return new Command("capture").addCommand(lsCommand()).addCommand(getCommand());
}

const HEADERS = ["ACTION", "WORKLOAD", "CONTAINER", "NODE", "BY", "DRIFT", "FILES", "SIZE", "AGE", "KEPT"];

function view({ id, capture, nodeId, nodeName, containerId, containerName, workload, driftId, settledAt }: Action) {
  return {
    ...{ action: id, drift: driftId, workload, node: { id: nodeId, name: nodeName }, container: { id: containerId, name: containerName } },
    ...{ digest: capture?.digest ?? "", bytes: Number(capture?.bytes ?? 0), complete: capture?.complete ?? false },
    ...{ files: capture?.files ?? 0, processes: capture?.processes ?? 0, by: capture ? captureTellerWord(capture.teller) : "" },
    ...{ takenAt: isoTime(takenAt({ capture, settledAt })), expiresAt: isoTime(capture?.expiresAt) },
  };
}

/** When it was told of; before that was noted, with the action's end. */
function takenAt({ capture, settledAt }: Pick<Action, "capture" | "settledAt">): Action["settledAt"] {
  return capture?.toldAt ?? settledAt;
}

function lsCommand(): Command {
  return new Command("ls")
    .description("captures that hosts and nodes told of, newest first, and until when they keep them")
    .addOption(formatOption())
    .action(async ({ output }: { output: Format }, command: Command) =>
      ask(command, async ({ channel, signal, print, nowMs }) => {
        const actions = await all(
          (pageToken) => channel.client(Response).listActions({ pageSize: PAGE_SIZE, pageToken }, { signal }),
          (page) => page.actions.filter(({ capture }) => capture !== undefined),
        );
        const kept = ({ capture }: Action): string => {
          const endMs = toMs(capture?.expiresAt);
          if (endMs === undefined) return "?";
          return endMs <= nowMs ? "removed" : `until ${new Date(endMs).toISOString().slice(0, 16)}Z`;
        };
        const row = (action: Action): string[] => [
          ...[action.id, printable(action.workload, 40), printable(action.containerName, 40), printable(action.nodeName, 40)],
          ...[action.capture ? captureTellerWord(action.capture.teller) : "", action.driftId, `${action.capture?.files ?? 0}`],
          ...[`${action.capture?.bytes ?? 0}${action.capture?.complete ? "" : " partial"}`, age(takenAt(action), nowMs), kept(action)],
        ];
        if (isData(output)) print(serialize(output, { captures: actions.map(view) }));
        else print(actions.length === 0 ? "no captures\n" : table(HEADERS, actions.map(row)));
        return EXIT.clean;
      }),
    );
}

function getCommand(): Command {
  return new Command("get")
    .description("fetch one as its host or node sealed it (responder role); it is opened with a responder's key: age -d")
    .argument("<action>", "for example A-7K2Q")
    .requiredOption("-m, --reason <text>", "why you fetch it: kept in the log")
    .option("--out <file>", "where to put it (default ACTION.age)")
    .addHelpText(
      "after",
      "\nOpen it: age -d -i responder.key ACTION.age | tar xz\nExit: 0 fetched, 2 usage, 3 not to be had: expired, not handed out by its host or node, or that one does not answer",
    )
    .action(async (id: string, { reason, out }: { reason: string; out?: string }, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        const client = channel.client(Response);
        const { action } = await client.getAction({ id }, { signal });
        const name = id.toUpperCase();
        if (action?.id !== name || !isNamed(action)) {
          process.stderr.write("hullmark: what the verifier tells is not of this action\n");
          return EXIT.unknown;
        }
        const { digest = "", bytes: size = 0n } = action.capture ?? {};
        const path = out ?? `${name}.age`;
        if (existsSync(path)) {
          process.stderr.write(`hullmark: ${path} is there already: name another file (--out)\n`);
          return EXIT.usage;
        }
        const bytes = await fetchedCapture(path, client.fetchCapture({ actionId: id, reason }, { signal }), { digest, size });
        if (bytes === undefined) {
          process.stderr.write("hullmark: what was fetched is not what the action has: nothing of it is kept\n");
          return EXIT.unknown;
        }
        print(`${path}  ${bytes} bytes, ${digest}, as the verifier has it of action ${name}\n`);
        return EXIT.clean;
      }),
    );
}
