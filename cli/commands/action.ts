/** `hullmark action ls|show|approve|deny|undo|pause|resume`: what is done about drift, and people's word on it. */
import { type Action, ActionKind, ActionState, Response } from "@hullmark/proto/v1/response";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command, Option } from "commander";
import { all, PAGE_SIZE } from "../connection/pages.ts";
import { ask } from "../connection/run.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, parseFormat, serialize } from "../output/format.ts";
import { table } from "../output/table.ts";
import { actionKindWord, actionStateWord, age, captureTellerWord, isoTime, nodeMarkWords } from "../output/words.ts";

const REASON = "-m, --reason <text>";

export function actionCommand(): Command {
  const action = new Command("action");
  for (const each of [lsCommand(), showCommand(), approveCommand(), denyCommand(), undoCommand(), pauseCommand(), resumeCommand()]) action.addCommand(each);
  return action;
}

function view(action: Action) {
  const { id, nodeId, nodeName, containerId, containerName, workload, imageReference, configDigest, driftId, rule, reason, detail } = action;
  return {
    ...{ id, kind: actionKindWord(action.kind), state: actionStateWord(action.state), node: { id: nodeId, name: nodeName } },
    ...{ container: { id: containerId, name: containerName }, workload, image: { reference: imageReference, configDigest }, drift: driftId, rule },
    ...{ createdAt: isoTime(action.createdAt), issuedAt: isoTime(action.issuedAt), expiresAt: isoTime(action.expiresAt), settledAt: isoTime(action.settledAt) },
    approvals: { needed: action.approvalsNeeded, given: action.approvals.map(({ by, at }) => ({ by, at: isoTime(at) })) },
    ...{
      deniedBy: action.deniedBy || null,
      reason,
      detail,
      newContainerId: action.newContainerId || null,
      ...(action.undoes && { undoes: action.undoes }),
      ...(action.purge && { purge: { layer: action.purge.chainId, images: action.purge.imageDigests } }),
      target: action.targetReference ? { reference: action.targetReference, configDigest: action.targetConfigDigest } : null,
      ...(action.targetRevisions.length > 0 && {
        revisions: action.targetRevisions.map(({ name, images }) => ({
          name,
          images: Object.fromEntries(images.map((each) => [each.container, each.digest])),
        })),
      }),
      ...(isOnNode(action) && {
        marks: nodeMarkWords(action.marks),
        marksDone: nodeMarkWords(action.marksDone),
        actuator: action.actuatorNodeName || null,
      }),
      capture: action.capture
        ? {
            digest: action.capture.digest,
            bytes: Number(action.capture.bytes),
            complete: action.capture.complete,
            expiresAt: isoTime(action.capture.expiresAt),
            ...{ files: action.capture.files, processes: action.capture.processes, by: captureTellerWord(action.capture.teller) },
          }
        : null,
      captureMissed: action.captureMissed || null,
      captureMissedAt: isoTime(action.captureMissedAt),
      captureProblem: action.captureProblem || null,
      logIndex: Number(action.logIndex),
    },
  };
}

function isOnNode({ kind }: Action): boolean {
  return kind === ActionKind.MARK_NODE || kind === ActionKind.LIFT_NODE;
}

/** Of an action on a node: the node, and what is put on it or taken away. */
function targetOf(action: Action): string[] {
  if (action.purge) return [printable(action.nodeName, 40), printable(`layer ${action.purge.chainId.slice(0, 19)}`, 40)];
  if (!isOnNode(action)) return [printable(action.workload, 40), printable(action.containerName, 40)];
  return [printable(action.nodeName, 40), nodeMarkWords(action.marks).join(",")];
}

const HEADERS = ["ID", "ACTION", "WORKLOAD", "CONTAINER", "DRIFT", "RULE", "AGE", "STATE"];

function row(action: Action, nowMs: number): string[] {
  const missing = action.approvalsNeeded - action.approvals.length;
  const state = actionStateWord(action.state);
  return [
    ...[action.id, actionKindWord(action.kind), ...targetOf(action), action.driftId, action.rule],
    ...[
      age(action.createdAt, nowMs),
      action.state === ActionState.AWAITING ? `${state} ${missing} more` : action.reason ? `${state}: ${printable(action.reason, 60)}` : state,
    ],
  ];
}

function lsCommand(): Command {
  return new Command("ls")
    .description("actions, newest first, and what is held back")
    .addOption(formatOption())
    .option("--open", "only those that wait for approval or for the actuator")
    .addHelpText("after", "\nExit: 0 told, 2 usage, 3 cannot tell")
    .action(async ({ output, open }: { readonly output: Format; readonly open?: boolean }, command: Command) =>
      ask(command, async ({ channel, signal, print, nowMs }) => {
        let held: Record<string, number> = {};
        let paused: { by: string; reason: string; since: string | null } | null = null;
        const actions = await all(
          (pageToken) => channel.client(Response).listActions({ openOnly: open === true, pageSize: PAGE_SIZE, pageToken }, { signal }),
          ({ actions: page, held: now, pause }) => {
            held = now;
            paused = pause ? { by: pause.by, reason: pause.reason, since: isoTime(pause.since) } : null;
            return page;
          },
        );
        if (isData(output)) print(serialize(output, { actions: actions.map(view), held, paused }));
        else {
          const rows = actions.map((each) => row(each, nowMs));
          print(rows.length > 0 ? table(HEADERS, rows) : "no actions\n");
          print(notes(held, paused));
        }
        return EXIT.clean;
      }),
    );
}

function notes(held: Readonly<Record<string, number>>, paused: { readonly by: string; readonly reason: string } | null): string {
  const lines = Object.entries(held).map(([why, count]) => `held back: ${count} ${why}\n`);
  if (paused) lines.push(`paused by ${printable(paused.by, 64)}: ${printable(paused.reason, 200)}\n`);
  return lines.join("");
}

function showCommand(): Command {
  return new Command("show")
    .description("one action in full")
    .argument("<id>", "for example A-7K2Q")
    .addOption(new Option("-o, --output <format>", "json or yaml").default("yaml").argParser(parseFormat))
    .action(async (id: string, { output }: { readonly output: Format }, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        const { action } = await channel.client(Response).getAction({ id }, { signal });
        if (!action) return EXIT.unknown;
        print(serialize(output === "json" ? "json" : "yaml", view(action)));
        return EXIT.clean;
      }),
    );
}

function approveCommand(): Command {
  return new Command("approve")
    .description("give your word for an action that waits for it (approver role)")
    .argument("<id>", "for example A-7K2Q")
    .action(async (id: string, _options: object, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        const { action } = await channel.client(Response).approveAction({ id }, { signal });
        const { state = ActionState.ISSUED, approvalsNeeded = 0, approvals = [] } = action ?? {};
        print(`${id} ${state === ActionState.AWAITING ? `approved, ${approvalsNeeded - approvals.length} more needed` : actionStateWord(state)}\n`);
        return EXIT.clean;
      }),
    );
}

function denyCommand(): Command {
  return new Command("deny")
    .description("forbid an action that waits for approval; it is not asked for again for this drift (approver role)")
    .argument("<id>", "for example A-7K2Q")
    .requiredOption(REASON, "kept with the action and in the log")
    .action(async (id: string, { reason }: { readonly reason: string }, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        await channel.client(Response).denyAction({ id, reason }, { signal });
        print(`${id} denied\n`);
        return EXIT.clean;
      }),
    );
}

function undoCommand(): Command {
  return new Command("undo")
    .description("release what was isolated: its networks are joined again as before, also while actions are paused (approver role)")
    .argument("<id>", "of the isolation, for example A-7K2Q")
    .requiredOption(REASON, "kept with the release and in the log")
    .action(async (id: string, { reason }: { readonly reason: string }, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        const { action } = await channel.client(Response).undoAction({ id, reason }, { signal });
        const missing = (action?.approvalsNeeded ?? 0) - (action?.approvals.length ?? 0);
        print(`${action?.id} releases ${id}: ${missing > 0 ? `${missing} more must approve it` : "issued"}\n`);
        return EXIT.clean;
      }),
    );
}

function pauseCommand(): Command {
  return new Command("pause")
    .description("stop acting, keep watching: nothing is decided or handed out (responder role)")
    .requiredOption(REASON, "kept in the log")
    .action(async ({ reason }: { readonly reason: string }, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        await channel.client(Response).pauseActions({ reason }, { signal });
        print("paused\n");
        return EXIT.clean;
      }),
    );
}

function resumeCommand(): Command {
  return new Command("resume")
    .description("act again (approver role)")
    .requiredOption(REASON, "kept in the log")
    .action(async ({ reason }: { readonly reason: string }, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        await channel.client(Response).resumeActions({ reason }, { signal });
        print("resumed\n");
        return EXIT.clean;
      }),
    );
}
