/** `hullmark drift ls|show|diff|watch|explain|ack`. */
import { Admin } from "@hullmark/proto/v1/admin";
import { Verdict } from "@hullmark/proto/v1/common";
import { type Drift, DriftState, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command } from "commander";
import { isIn } from "../connection/connection.ts";
import { all, PAGE_SIZE } from "../connection/pages.ts";
import { type Asking, ask } from "../connection/run.ts";
import { watched } from "../connection/watched.ts";
import { fetchActionsOf } from "../incident/fetch.ts";
import { explain, explanationPage } from "../output/drift-explained.ts";
import { showDrift } from "../output/drift-page.ts";
import { driftFindings } from "../output/drift-sarif.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, type ReportFormat, reportOption, serialize } from "../output/format.ts";
import { sarifLog } from "../output/sarif.ts";
import { table } from "../output/table.ts";
import { diffLines, diffSummary } from "../output/text-diff.ts";
import { driftView } from "../output/views.ts";
import { actorWord, age, pathWord, severityWord, stateWord } from "../output/words.ts";

const EXITS = "\nExit: 0 clean, 1 drift, 2 usage, 3 cannot tell (nothing drifted, something could not be judged)";

export function driftCommand(): Command {
  const drift = new Command("drift");
  drift
    .addCommand(lsCommand())
    .addCommand(showCommand())
    .addCommand(diffCommand())
    .addCommand(watchCommand())
    .addCommand(explainCommand())
    .addCommand(ackCommand());
  return drift;
}

const HEADERS = ["ID", "SEV", "WORKLOAD", "PATH", "WHAT", "WHO", "AGE", "STATE"];
const WIDE_HEADERS = [...HEADERS, "NODE", "CONTAINER", "SUMMARY"];

function row(drift: Drift, wide: boolean, nowMs: number): string[] {
  const layer = drift.origin && drift.origin.layerIndex >= 0 && drift.origin.place === "layer" ? ` ${drift.origin.layerIndex}` : "";
  return [
    drift.id,
    severityWord(drift.severity),
    printable(drift.workload, 40),
    pathWord(drift.path, wide ? 4096 : 60) || printable(drift.summary, 60) || "-",
    `${drift.kind}, ${drift.origin?.place ?? "?"}${layer}`,
    actorWord(drift),
    age(drift.changedAt ?? drift.measuredAt, nowMs),
    stateWord(drift.state),
    ...(wide ? [printable(drift.nodeName, 40), printable(drift.containerName, 40), printable(drift.summary, 200)] : []),
  ];
}

interface LsOptions {
  readonly output: ReportFormat;
  readonly all?: boolean;
  readonly container?: string;
}

function lsCommand(): Command {
  return new Command("ls")
    .description("open drift, gravest first")
    .addOption(reportOption())
    .option("-a, --all", "also resolved drift and notices")
    .option("--container <name>", "of one container: id, unique prefix or name")
    .addHelpText("after", EXITS)
    .action(async (options: LsOptions, command: Command) =>
      ask(command, async (asking) => {
        const { print, nowMs } = asking;
        // A namespace says what lists show: one container that is named is shown wherever it runs.
        const namespace = options.container === undefined ? asking.namespace : undefined;
        const { drifts, unknown, elsewhere } = await listDrift({ ...asking, namespace }, options);
        const open = drifts.filter(isOpen);
        if (options.output === "sarif") print(sarifLog(driftCategory(options, namespace), driftFindings(drifts, asking.command)));
        else if (isData(options.output)) print(serialize(options.output, { drifts: drifts.map(driftView), containersUnknown: unknown }));
        else {
          const wide = options.output === "wide";
          if (drifts.length > 0)
            print(
              table(
                wide ? WIDE_HEADERS : HEADERS,
                drifts.map((each) => row(each, wide, nowMs)),
              ),
            );
          print(summary(open, unknown, namespace, elsewhere));
        }
        return open.length > 0 ? EXIT.drift : unknown > 0 ? EXIT.unknown : EXIT.clean;
      }),
    );
}

/** A part of the fleet is another list than the whole of it. */
const driftCategory = ({ container }: LsOptions, namespace: string | undefined): string =>
  ["drift", ...(namespace === undefined ? [] : [`namespace ${namespace}`]), ...(container ? [`container ${container}`] : [])].join("/");

const isOpen = ({ state }: Drift): boolean => state === DriftState.OPEN || state === DriftState.ACKNOWLEDGED;

interface DriftList {
  /** Gravest first. */
  readonly drifts: readonly Drift[];
  /** Containers that could not be judged. */
  readonly unknown: number;
  /** Open drifts outside the namespace that was asked for. */
  readonly elsewhere: number;
}

async function listDrift({ channel, signal, namespace }: Asking, options: LsOptions): Promise<DriftList> {
  const client = channel.client(Query);
  const states = options.all ? [DriftState.OPEN, DriftState.ACKNOWLEDGED, DriftState.RESOLVED, DriftState.NOTICE] : [];
  let unknown = 0;
  const everywhere = await all(
    (pageToken) => client.listDrift({ states, container: options.container ?? "", pageSize: PAGE_SIZE, pageToken }, { signal }),
    (page) => {
      unknown = page.containersUnknown;
      return page.drifts;
    },
  );
  const drifts = everywhere.filter((drift) => isIn(namespace, drift));
  drifts.sort((a, b) => b.severity - a.severity || Number((b.measuredAt?.seconds ?? 0n) - (a.measuredAt?.seconds ?? 0n)));
  if (namespace === undefined) return { drifts, unknown, elsewhere: 0 };
  const unjudged = await all(
    (pageToken) => client.listWorkloads({ verdicts: [Verdict.UNKNOWN], pageSize: PAGE_SIZE, pageToken }, { signal }),
    ({ workloads }) => workloads,
  );
  const count = unjudged.filter((workload) => isIn(namespace, workload)).length;
  return { drifts, unknown: count, elsewhere: everywhere.filter(isOpen).length - drifts.filter(isOpen).length };
}

function summary(open: readonly Drift[], unknown: number, namespace: string | undefined, elsewhere: number): string {
  const drifted = new Set(open.map(({ containerId }) => containerId)).size;
  const where = namespace === undefined ? "" : ` in namespace ${printable(namespace, 63)}`;
  const others = elsewhere > 0 ? `; ${elsewhere} open elsewhere (-A)` : "";
  if (drifted === 0 && unknown === 0) return `no drift${where}${others}\n`;
  return `${drifted} drifted, ${unknown} unknown${where}${unknown > 0 ? " (workloads --unknown)" : ""}${others}\n`;
}

function showCommand(): Command {
  return new Command("show")
    .description("one drift in full: what, where, from which layer, who, when")
    .argument("<id>", "for example D-7K2Q")
    .addOption(reportOption())
    .addHelpText("after", EXITS)
    .action(async (id: string, { output }: { output: ReportFormat }, command: Command) =>
      one(command, id, async (drift, asking) => {
        if (output === "sarif") return sarifLog(`drift/${drift.id}`, driftFindings([drift], asking.command));
        return isData(output) ? serialize(output, driftView(drift)) : showDrift(drift, await fetchActionsOf(drift, asking), asking.command);
      }),
    );
}

/** The verifier reads a layer of the image for it. */
const DIFF_MS = 75_000;

function diffCommand(): Command {
  return new Command("diff")
    .description(
      "what changed in the file, line by line: its content on the node beside the image's, where the node's own configuration allows it (responder role)",
    )
    .argument("<id>", "for example D-7K2Q")
    .requiredOption("-m, --reason <text>", "why you read it: kept in the log")
    .addOption(formatOption())
    .addHelpText("after", "\nExit: 0 shown, 2 usage, 3 cannot be shown: not allowed by the node, changed since, the node or the registry does not answer")
    .action(async (id: string, { reason, output }: { reason: string; output: Format }, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        const { drift } = await channel.client(Query).getDrift({ id }, { signal });
        const told = await channel.client(Admin).diffDrift({ id, reason }, { signal, timeoutMs: DIFF_MS });
        const path = printable(drift?.path ?? new Uint8Array(), 16_384);
        if (isData(output)) {
          const { hunks, binary, sizeBefore, sizeAfter } = told;
          const sizes = { sizeBefore: sizeBefore === undefined ? null : Number(sizeBefore), sizeAfter: sizeAfter === undefined ? null : Number(sizeAfter) };
          print(serialize(output, { id: drift?.id ?? id, path, binary, ...sizes, hunks }));
        } else {
          const lines = [`--- ${path} (image)`, `+++ ${path} (${printable(drift?.containerName ?? "", 80)})`, ...diffLines(told).map(({ text }) => text)];
          print(told.hunks === "" ? `${path}: ${diffSummary(told)}\n` : `${lines.join("\n")}\n`);
        }
        return EXIT.clean;
      }),
    );
}

function explainCommand(): Command {
  return new Command("explain")
    .description("one drift in plain words: what happened, why it is not allowed, what is done about it, how to mend it or ask for an exception")
    .argument("<id>", "for example D-7K2Q")
    .addOption(formatOption())
    .addHelpText("after", EXITS)
    .action(async (id: string, { output }: { output: Format }, command: Command) =>
      one(command, id, async (drift, asking, rule) => {
        const explanation = explain(drift, (await fetchActionsOf(drift, asking)).toReversed(), asking.nowMs, rule, asking.command);
        return isData(output) ? serialize(output, { ...driftView(drift), explanation }) : explanationPage(drift, explanation, asking.command);
      }),
    );
}

function one(command: Command, id: string, page: (drift: Drift, asking: Asking, rule: string | undefined) => Promise<string>): Promise<void> {
  return ask(command, async (asking) => {
    const { drift, rule } = await asking.channel.client(Query).getDrift({ id }, { signal: asking.signal });
    if (!drift) return EXIT.unknown;
    asking.print(await page(drift, asking, rule));
    return isOpen(drift) ? EXIT.drift : EXIT.clean;
  });
}

function watchCommand(): Command {
  return new Command("watch")
    .description("print drift as it is opened, changed and resolved, until interrupted")
    .addOption(formatOption())
    .option("--current", "first print what is open now")
    .action(async (options: { output: Format; current?: boolean }, command: Command) =>
      ask(command, async ({ channel, namespace, signal, print }) => {
        let renewed = false;
        /** By id: what is open still, by another token, is not told twice. */
        const told = new Map<string, string>();
        const drifts = () => channel.client(Query).watchDrift({ includeCurrent: renewed || options.current === true }, { signal });
        const again = async (): Promise<void> => {
          renewed = true;
        };
        for await (const { drift } of watched(channel, drifts, again)) {
          if (!drift || !isIn(namespace, drift)) continue;
          const state = `${drift.state} ${drift.seen}`;
          if (renewed && told.get(drift.id) === state) continue;
          if (isOpen(drift)) told.set(drift.id, state);
          else told.delete(drift.id);
          if (options.output === "json") print(`${JSON.stringify(driftView(drift))}\n`);
          else if (options.output === "yaml") print(`---\n${serialize("yaml", driftView(drift))}`);
          else print(`${row(drift, options.output === "wide", Date.now()).join("  ")}\n`);
        }
        return EXIT.clean;
      }),
    );
}

function ackCommand(): Command {
  return new Command("ack")
    .description("say that you have seen a drift and why it may stay for now (responder role)")
    .argument("<id>", "for example D-7K2Q")
    .requiredOption("-m, --reason <text>", "kept with the drift and in the log")
    .option("--seen <code>", "as `drift show` gave it: refused where the drift has changed since. Without it, what is acknowledged is what is shown now")
    .action(async (id: string, options: { reason: string; seen?: string }, command: Command) =>
      ask(command, async ({ channel, signal, print, command: called }) => {
        let { seen } = options;
        if (seen === undefined) {
          const { drift } = await channel.client(Query).getDrift({ id }, { signal });
          if (!drift) return EXIT.unknown;
          print(showDrift(drift, [], called));
          seen = drift.seen;
        }
        await channel.client(Admin).acknowledgeDrift({ id, reason: options.reason, seen }, { signal });
        print(`${id} acknowledged\n`);
        return EXIT.clean;
      }),
    );
}
