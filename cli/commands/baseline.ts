/** `hullmark baseline ls|propose|diff|approve|expire`: reference values of a pool of nodes, from what chosen nodes prove, approved by somebody else. */
import { Admin } from "@hullmark/proto/v1/admin";
import { type Baseline, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command, InvalidArgumentError } from "commander";
import { type Asking, ask } from "../connection/run.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { table } from "../output/table.ts";
import { toMs } from "../output/words.ts";

export function baselineCommand(): Command {
  return new Command("baseline")
    .addCommand(listCommand())
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
        const cells = ({ id, state, pcrs, files, proposedBy, approvedBy, reviewAt, reason }: Baseline): string[] => [
          ...[printable(id, 100), state, pcrs.map(({ index }) => index).join(","), String(files.length)],
          ...[printable(proposedBy, 40), printable(approvedBy, 40) || "-", date(toMs(reviewAt)), printable(reason, 60)],
        ];
        asking.print(
          isData(output)
            ? serialize(output, rows.map(view))
            : table(["BASELINE", "STATE", "PCRS", "FILES", "PROPOSED BY", "APPROVED BY", "REVIEW", "WHY"], rows.map(cells)),
        );
        return EXIT.clean;
      }),
    );
}

interface ProposeFlags {
  readonly node: readonly string[];
  readonly pcrs: readonly number[];
  readonly files?: boolean;
  readonly reason: string;
}

function proposeCommand(): Command {
  return new Command("propose")
    .description("take the values over that nodes quote now, as a proposal")
    .argument("<pool>", "name of a rule for nodes in the policy (spec.nodes)")
    .requiredOption("--node <name...>", "nodes to take them from: ones that are known to be good, or that were updated first")
    .option("--pcrs <list>", "PCRs, with commas; `none`", pcrList, [0, 2, 4, 7])
    .option("--files", "the files too: those of the nodes' measurement lists that nothing vouches for, beside those of the pool's approved versions")
    .requiredOption("--reason <text>", "why: it is logged")
    .action(async (pool: string, { node, pcrs, files, reason }: ProposeFlags, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        const { id } = await channel.client(Admin).proposeBaseline({ pool, nodes: [...node], pcrs: [...pcrs], files: files ?? false, reason }, { signal });
        print(`proposed ${printable(id, 100)}: somebody else approves it after \`hullmark baseline diff ${printable(id, 100)}\`\n`);
        return EXIT.clean;
      }),
    );
}

function diffCommand(): Command {
  return new Command("diff")
    .description("what a version brings beside the approved ones of its pool")
    .argument("<baseline>", "POOL@VERSION")
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
          rows.filter((each) => each.pool === row.pool && each.state === "approved" && each.id !== id),
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
  ];
  const own = new Set(items(row));
  const known = new Set(approved.flatMap(items));
  return [...new Set([...own, ...known])].sort().map((item) => `${!known.has(item) ? "+" : own.has(item) ? " " : "-"} ${printable(item, 200)}`);
}

function approveCommand(): Command {
  return new Command("approve")
    .description("let a proposal count, beside the versions that do (approvers; not for one's own)")
    .argument("<baseline>", "POOL@VERSION")
    .option("--review-days <days>", "after so many days the status asks for a review, 1 to 366", days, 90)
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
    .argument("<baseline>", "POOL@VERSION")
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

function view({ id, pool, version, state, pcrs, files, nodes, proposedBy, approvedBy, proposedAt, approvedAt, reviewAt, reason }: Baseline) {
  const times = { proposedAt: iso(toMs(proposedAt)), approvedAt: iso(toMs(approvedAt)), reviewAt: iso(toMs(reviewAt)) };
  return {
    id,
    pool,
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

const iso = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());
const date = (ms: number | undefined): string => iso(ms)?.slice(0, 10) ?? "-";

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
