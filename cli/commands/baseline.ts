/** `hullmark baseline ls|report|propose|diff|approve|expire`: reference values of a pool of nodes, from what chosen nodes prove, or paths that a workload writes, from its drift; approved by somebody else. */

import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { Admin } from "@hullmark/proto/v1/admin";
import { type Baseline, type BaselineReportRow, Query } from "@hullmark/proto/v1/query";
import { counted } from "@hullmark/verifier/core/text/counted";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command, InvalidArgumentError, Option } from "commander";
import { type Asking, ask } from "../connection/run.ts";
import type { Called } from "../kubectl/invocation.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { table } from "../output/table.ts";
import { isoTime } from "../output/words.ts";
import { spanWithin } from "./durations.ts";

export function baselineCommand(): Command {
  return new Command("baseline")
    .addCommand(listCommand())
    .addCommand(reportCommand())
    .addCommand(proposeCommand())
    .addCommand(diffCommand())
    .addCommand(approveCommand())
    .addCommand(expireCommand());
}

const fetchAll = async ({ channel, signal }: Asking): Promise<Baseline[]> => (await channel.client(Query).listBaselines({}, { signal })).baselines;

function listCommand(): Command {
  return new Command("ls")
    .description("every version, and where it stands")
    .addOption(formatOption())
    .action(async ({ output }: { readonly output: Format }, command: Command) =>
      ask(command, async (asking) => {
        const rows = await fetchAll(asking);
        const cells = ({ id, state, pcrs, files, paths, owner, proposedBy, approvedBy, reviewAt, reason }: Baseline): string[] => [
          ...[printable(id, 100), state, pcrs.map(({ index }) => index).join(",") || "-", String(files.length), String(paths.length)],
          ...[printable(owner, 40), printable(proposedBy, 40), printable(approvedBy, 40) || "-", date(reviewAt), printable(reason, 60)],
        ];
        asking.print(
          isData(output)
            ? serialize(output, rows.map(view))
            : table(["BASELINE", "STATE", "PCRS", "FILES", "PATHS", "OWNER", "PROPOSED BY", "APPROVED BY", "REVIEW", "WHY"], rows.map(cells)),
        );
        return EXIT.clean;
      }),
    );
}

interface ProposeFlags {
  readonly node?: readonly string[];
  readonly pcrs?: readonly number[];
  readonly files?: boolean;
  readonly workload?: string;
  readonly since?: number;
  readonly owner?: string;
  readonly reason: string;
}

function reportCommand(): Command {
  return new Command("report")
    .description("every baseline and exception that is proposed or counts: whose, why, until when, and whether it is of use")
    .addOption(formatOption())
    .addHelpText("after", "\nExit: 0 nothing is overdue, 1 something is past its review date, 2 usage, 3 cannot tell")
    .action(async ({ output }: { readonly output: Format }, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        const { rows } = await channel.client(Query).reportBaselines({}, { signal });
        print(isData(output) ? serialize(output, rows.map(reportView)) : table(REPORT_HEADERS, rows.map(reportCells)));
        return rows.some(({ overdue }) => overdue) ? EXIT.drift : EXIT.clean;
      }),
    );
}

const REPORT_HEADERS = ["WHAT", "OF", "STATE", "OWNER", "APPROVED BY", "REVIEW", "USED", "LAST USED", "WHY"];
const USES: Readonly<Record<string, string>> = { nodes: "node", workload: "file", exception: "drift" };

function reportCells(row: BaselineReportRow): string[] {
  const { id, of, state, owner, approvedBy, reviewAt, ends, overdue, lastUsed, uses, unused, kind, reason } = row;
  const review = overdue ? `${date(reviewAt)} OVERDUE` : `${ends && reviewAt ? "ends " : ""}${date(reviewAt)}`;
  return [
    ...[printable(id, 100), printable(of, 60), state, printable(owner, 40), printable(approvedBy, 40) || "-", review],
    ...[counted(uses, USES[kind] ?? "use"), `${date(lastUsed)}${unused ? " UNUSED" : ""}`, printable(reason, 60)],
  ];
}

/** Stable: fields are added, never changed. */
function reportView(row: BaselineReportRow): object {
  const { kind, id, of, state, owner, reason, proposedBy, approvedBy, ends, overdue, uses, unused } = row;
  const times = { approvedAt: isoTime(row.approvedAt), reviewAt: isoTime(row.reviewAt), lastUsed: isoTime(row.lastUsed) };
  return { ...{ kind, id, of, state, owner, reason, proposedBy, approvedBy: approvedBy || null }, ...times, ends, overdue, uses, unused };
}

function proposeCommand(): Command {
  return new Command("propose")
    .description("take over, as a proposal, the values that nodes quote now, or (--workload) the paths that a workload was seen to write")
    .argument("[pool]", "name of a rule for nodes in the policy (spec.nodes)")
    .option("--node <name...>", "nodes to take values from: ones that are known to be good, or that were updated first")
    .option("--pcrs <list>", "PCRs, with commas; `none` (default: 0,2,4,7)", pcrList)
    .option("--files", "the files too: those of the nodes' measurement lists that nothing vouches for, beside those of the pool's approved versions")
    .option("--workload <name>", "in place of a pool: for example shop/web; a container that is of no workload by its name")
    .addOption(new Option("--since <time>", "of a workload: what it wrote since then, 1h to 90d (default: 7d)").argParser(spanWithin(90)))
    .option("--owner <name>", "who answers for it, for example a team; left out: whoever proposes")
    .requiredOption("--reason <text>", "why: it is logged")
    .action(async (pool: string | undefined, flags: ProposeFlags, command: Command) => {
      const misused = misuseOf(pool, flags);
      if (misused !== undefined) command.error(`error: ${misused}`, { exitCode: EXIT.usage });
      return ask(command, async (asking) => (pool === undefined ? await proposeWorkload(asking, flags) : await proposePool(asking, pool, flags)));
    });
}

function misuseOf(pool: string | undefined, { node, pcrs, files, workload, since }: ProposeFlags): string | undefined {
  if ((pool === undefined) === (workload === undefined)) return "give a pool of nodes, or --workload";
  if (pool === undefined) return node || pcrs || files ? "--node, --pcrs and --files are of a pool" : undefined;
  if (since !== undefined) return "--since is of a workload";
  return node ? undefined : "a pool needs --node";
}

async function proposePool(
  { channel, signal, print, command }: Asking,
  pool: string,
  { node = [], pcrs = [0, 2, 4, 7], files = false, owner = "", reason }: ProposeFlags,
) {
  const { id } = await channel.client(Admin).proposeBaseline({ pool, nodes: [...node], pcrs: [...pcrs], files, owner, reason }, { signal });
  print(proposedText(id, command));
  return EXIT.clean;
}

async function proposeWorkload(asking: Asking, { workload = "", since = 7 * 86_400, owner = "", reason }: ProposeFlags) {
  const { channel, signal, print, command } = asking;
  const { id, leftOut, moreLeftOut } = await channel.client(Admin).proposeBaseline({ workload, sinceSeconds: since, owner, reason }, { signal });
  const row = (await fetchAll(asking)).find((each) => each.id === id);
  const learned = (row?.paths ?? []).map((path) => [
    path.class,
    printable(path.pattern, 200),
    String(path.seen),
    printable(whichOf(path.containers).trim(), 160) || "-",
  ]);
  print(table(["CLASS", "MAY CHANGE", "SEEN", "WHERE"], learned));
  for (const each of leftOut) print(`not proposed: ${each.path}: ${each.why}\n`);
  if (moreLeftOut > 0) print(`not proposed: ${moreLeftOut} more\n`);
  print(proposedText(id, command));
  return EXIT.clean;
}

function proposedText(id: string, command: Called): string {
  return `proposed ${printable(id, 100)}: somebody else approves it after \`${command} baseline diff ${printable(id, 100)}\`\n`;
}

function diffCommand(): Command {
  return new Command("diff")
    .description("what a version brings beside the approved ones of its pool or workload")
    .argument("<baseline>", "POOL@VERSION or WORKLOAD@VERSION")
    .addHelpText("after", "\nExit: 0 nothing new, 1 something new, 2 usage, 3 cannot tell")
    .action(async (id: string, _options: object, command: Command) =>
      ask(command, async (asking) => {
        const rows = await fetchAll(asking);
        const row = rows.find((each) => each.id === id);
        if (!row) {
          process.stderr.write(`hullmark: no baseline is called ${printable(id, 100)}\n`);
          return EXIT.usage;
        }
        const lines = differences(
          row,
          rows.filter((each) => each.pool === row.pool && each.workload === row.workload && each.state === "approved" && each.id !== id),
        );
        asking.print(lines.map((line) => `${line}\n`).join(""));
        return lines.some((line) => line.startsWith("+")) ? EXIT.drift : EXIT.clean;
      }),
    );
}

/** `+` only in this version, ` ` in an approved one too, `-` only in approved ones. */
function differences(row: Baseline, approved: readonly Baseline[]): string[] {
  const items = (of: Baseline): string[] => [
    ...of.pcrs.flatMap(({ index, values }) => values.map((value) => `PCR ${index}  ${value}`)),
    ...of.files.map((file) => `file  ${file}`),
    ...of.paths.map(({ class: kind, pattern, containers }) => `${kind}  ${pattern}${whichOf(containers)}`),
  ];
  const own = new Set(items(row));
  const known = new Set(approved.flatMap(items));
  return [...new Set([...own, ...known])].sort().map((item) => `${!known.has(item) ? "+" : own.has(item) ? " " : "-"} ${printable(item, 1200)}`);
}

/** Of a workload on a host every container has its paths; in a pod they are of one. */
function whichOf(containers: readonly string[]): string {
  const named = containers.filter((each) => each !== "*");
  return named.length > 0 ? `  in ${named.join(", ")}` : "";
}

function approveCommand(): Command {
  return new Command("approve")
    .description("let a proposal count, beside the versions that do (approvers; not for one's own)")
    .argument("<baseline>", "POOL@VERSION or WORKLOAD@VERSION")
    .option("--review-days <days>", "after so many days the status asks for a review, 1 to 366; one of a workload ends then", days, 90)
    .action(async (id: string, { reviewDays }: { readonly reviewDays: number }, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        await channel.client(Admin).approveBaseline({ id, reviewDays }, { signal });
        print("approved\n");
        return EXIT.clean;
      }),
    );
}

function expireCommand(): Command {
  return new Command("expire")
    .description("withdraw a proposal, or end a version that counts (approvers)")
    .argument("<baseline>", "POOL@VERSION or WORKLOAD@VERSION")
    .requiredOption("--reason <text>", "why: it is logged")
    .option("--last", "also where it is the last of its pool: then nothing is asked for in its place")
    .action(async (id: string, { reason, last }: { readonly reason: string; readonly last?: boolean }, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        await channel.client(Admin).expireBaseline({ id, reason, last: last ?? false }, { signal });
        print("ended\n");
        return EXIT.clean;
      }),
    );
}

function view({
  id,
  pool,
  workload,
  owner,
  paths,
  version,
  state,
  pcrs,
  files,
  nodes,
  proposedBy,
  approvedBy,
  proposedAt,
  approvedAt,
  reviewAt,
  reason,
}: Baseline) {
  const times = { proposedAt: isoTime(proposedAt), approvedAt: isoTime(approvedAt), reviewAt: isoTime(reviewAt) };
  return {
    id,
    pool: pool || null,
    workload: workload || null,
    owner,
    paths: paths.map(({ containers, pattern, class: kind, seen, example }) => ({ containers, pattern, class: kind, seen, example })),
    version,
    state,
    pcrs: Object.fromEntries(pcrs.map(({ index, values }) => [index, values])),
    files,
    nodes,
    proposedBy,
    approvedBy,
    reason,
    ...times,
  };
}

const date = (time: Timestamp | undefined): string => isoTime(time)?.slice(0, 10) ?? "-";

function pcrList(text: string): number[] {
  if (text === "none") return [];
  const list = text.split(",").map(Number);
  if (!list.every((index) => Number.isInteger(index) && index >= 0 && index <= 23))
    throw new InvalidArgumentError("want PCRs from 0 to 23, with commas, or none");
  return list;
}

function days(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 366) throw new InvalidArgumentError("want 1 to 366");
  return value;
}
