/** `hullmark exception request|ls|show|approve|deny|revoke`: one difference of one workload, excused until a day, by two people. */
import { Admin } from "@hullmark/proto/v1/admin";
import { type Drift, DriftState, type Exception, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command, Option } from "commander";
import { type Asking, ask } from "../connection/run.ts";
import { showDrift } from "../output/drift-page.ts";
import { exceptionPage, exceptionRow, exceptionView, HEADERS } from "../output/exception-page.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { table } from "../output/table.ts";
import { spanWithin } from "./durations.ts";

const ALIVE = ["requested", "approved"];
const MAX_PAGES = 10;

export function exceptionCommand(): Command {
  return new Command("exception")
    .addCommand(requestCommand())
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(approveCommand())
    .addCommand(withReason("deny", "refuse what is asked for (approvers)", "denied", (admin, request) => admin.denyException(request)))
    .addCommand(
      withReason("revoke", "end it before its day, or take a request back (responders)", "revoked", (admin, request) => admin.revokeException(request)),
    );
}

interface RequestFlags {
  readonly reason: string;
  readonly until: number;
  readonly path?: string;
  readonly anyContent?: boolean;
  readonly anyImage?: boolean;
  readonly seen?: string;
}

function requestCommand(): Command {
  return new Command("request")
    .description("ask that a drift be excused as it is now: this path, this content, this workload, this image (responders)")
    .argument("<drift>", "for example D-7K2Q")
    .requiredOption("-m, --reason <text>", "why: it is logged, and whoever decides reads it")
    .addOption(
      new Option("--until <time>", "from now, 1h to what policy allows (spec.exceptions.maxDays)").argParser(spanWithin(366)).default(7 * 86_400, "7d"),
    )
    .option("--path <glob>", "whatever these files hold, in place of the one: open in the last name of the path only, and none that can be executed")
    .option("--any-content", "whatever the file holds; not one that can be executed")
    .option("--any-image", "of later images of the workload too")
    .option("--seen <code>", "as `drift show` gave it: refused where the drift has changed since. Without it, what is asked for is of what is shown now")
    .action(async (driftId: string, { reason, until, path = "", anyContent = false, anyImage = false, seen }: RequestFlags, command: Command) =>
      ask(command, async (asking) => {
        const shown = seen ?? (await show(asking, driftId));
        const request = { driftId, reason, lifeSeconds: until, pathGlob: path, anyContent, anyImage, seen: shown };
        const { id } = await asking.channel.client(Admin).requestException(request, { signal: asking.signal });
        const row = (await fetchAll(asking)).find((each) => each.id === id);
        if (row) asking.print(exceptionPage(row, []));
        asking.print(`somebody else decides: ${asking.command} exception approve ${id}\n`);
        return EXIT.clean;
      }),
    );
}

/** @returns what stands for what is printed */
async function show({ channel, signal, print, command }: Asking, id: string): Promise<string> {
  const { drift } = await channel.client(Query).getDrift({ id }, { signal });
  if (!drift) return "";
  print(showDrift(drift, [], command));
  return drift.seen;
}

const fetchAll = async ({ channel, signal }: Asking, states: readonly string[] = []): Promise<Exception[]> =>
  (await channel.client(Query).listExceptions({ states: [...states] }, { signal })).exceptions;

function listCommand(): Command {
  return new Command("ls")
    .description("what waits for a decision and what is in force; with --all what is over too")
    .option("--all", "what was denied, revoked or has ended too")
    .addOption(formatOption())
    .action(async ({ all, output }: { readonly all?: boolean; readonly output: Format }, command: Command) =>
      ask(command, async (asking) => {
        const rows = await fetchAll(asking, all ? [] : ALIVE);
        asking.print(
          isData(output)
            ? serialize(output, rows.map(exceptionView))
            : table(
                HEADERS,
                rows.map((row) => exceptionRow(row, asking.nowMs)),
              ),
        );
        return EXIT.clean;
      }),
    );
}

function showCommand(): Command {
  return new Command("show")
    .description("what it covers, who asked and who decided, and what it excuses now")
    .argument("<exception>", "for example X-7K2Q")
    .addOption(formatOption())
    .action(async (id: string, { output }: { readonly output: Format }, command: Command) =>
      ask(command, async (asking) => {
        const row = (await fetchAll(asking)).find((each) => each.id === id.toUpperCase());
        if (!row) {
          process.stderr.write(`hullmark: no exception is called ${printable(id, 64)}: ${asking.command} exception ls --all\n`);
          return EXIT.usage;
        }
        const touched = await excused(asking, row.id);
        asking.print(
          isData(output) ? serialize(output, { ...exceptionView(row), excuses: touched.map(({ id: drift }) => drift) }) : exceptionPage(row, touched),
        );
        return EXIT.clean;
      }),
    );
}

/** Drifts that it excuses now. */
async function excused({ channel, signal }: Asking, id: string): Promise<Drift[]> {
  const found: Drift[] = [];
  for (let pageToken = "", page = 0; page < MAX_PAGES; page++) {
    const answer = await channel.client(Query).listDrift({ states: [DriftState.NOTICE], pageSize: 999, pageToken }, { signal });
    found.push(...answer.drifts.filter(({ exception }) => exception === id));
    pageToken = answer.nextPageToken;
    if (pageToken === "") break;
  }
  return found;
}

function approveCommand(): Command {
  return new Command("approve")
    .description("let it count from now on (approvers; not for one's own)")
    .argument("<exception>", "for example X-7K2Q")
    .action(async (id: string, _options: object, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        await channel.client(Admin).approveException({ id }, { signal });
        print(`${printable(id, 64)} approved\n`);
        return EXIT.clean;
      }),
    );
}

type AdminClient = ReturnType<typeof adminOf>;
const adminOf = ({ channel }: Asking) => channel.client(Admin);

function withReason(
  name: string,
  description: string,
  done: string,
  act: (admin: AdminClient, request: { id: string; reason: string }) => Promise<unknown>,
): Command {
  return new Command(name)
    .description(description)
    .argument("<exception>", "for example X-7K2Q")
    .requiredOption("-m, --reason <text>", "why: it is logged")
    .action(async (id: string, { reason }: { readonly reason: string }, command: Command) =>
      ask(command, async (asking) => {
        await act(adminOf(asking), { id, reason });
        asking.print(`${printable(id, 64)} ${done}\n`);
        return EXIT.clean;
      }),
    );
}
