/** `hullmark alert test|ls|retry`: does anybody hear of it, and what have they not heard? */
import { Admin } from "@hullmark/proto/v1/admin";
import { Severity } from "@hullmark/proto/v1/common";
import { type Notification, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command, Option } from "commander";
import { type Asking, ask } from "../connection/run.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { table } from "../output/table.ts";
import { age, isoTime, severityWord, toMs } from "../output/words.ts";
import { within } from "./numbers.ts";

const SEVERITIES = { info: Severity.INFO, low: Severity.LOW, medium: Severity.MEDIUM, high: Severity.HIGH, critical: Severity.CRITICAL } as const;
type SeverityWord = keyof typeof SEVERITIES;
const MAX_LISTED = 1000;
/** Of an id, in tables; `retry` takes it too where it names one. */
const SHORT_ID = 12;

export function alertCommand(): Command {
  const alert = new Command("alert");
  for (const each of [testCommand(), lsCommand(), retryCommand()]) alert.addCommand(each);
  return alert;
}

interface TestFlags {
  readonly severity: SeverityWord;
  readonly end?: boolean;
  readonly output: Format;
}

function testCommand(): Command {
  const severity = new Option("--severity <word>", "of the test alert").choices(Object.keys(SEVERITIES)).default("low");
  return new Command("test")
    .description("send a harmless alert now, past severity floor, match and rate limit; it says that it is a test (admin role)")
    .argument("[route]", "its name in the policy; without one, every route")
    .addOption(severity)
    .option("--end", "the end of the test alert that was sent before, which stays open at receivers that keep alerts")
    .addOption(formatOption())
    .addHelpText("after", "\nExit: 0 every route took it, 1 one did not, 2 usage or no such route, 3 cannot tell")
    .action(async (route: string | undefined, { severity: word, end = false, output }: TestFlags, command: Command) =>
      ask(command, async ({ channel, signal, print }) => {
        const { routes } = await channel.client(Admin).testAlert({ route: route ?? "", severity: SEVERITIES[word], end }, { signal });
        const shown = routes.map(({ route: name, type, taken, answer }) => ({ route: name, type, taken, answer }));
        if (isData(output)) print(serialize(output, { routes: shown }));
        else
          for (const each of shown)
            print(`${printable(each.route, 128)} (${each.type}): ${each.taken ? "taken" : "not taken"}: ${printable(each.answer, 500)}\n`);
        if (routes.length > 0) return routes.every(({ taken }) => taken) ? EXIT.clean : EXIT.drift;
        process.stderr.write(`hullmark: ${route === undefined ? "the policy has no alert route" : "no such alert route"}\n`);
        return EXIT.usage;
      }),
    );
}

interface LsFlags {
  readonly route?: string;
  readonly state?: string;
  readonly limit: number;
  readonly output: Format;
}

function lsCommand(): Command {
  return new Command("ls")
    .description("notifications that wait, were given up (dead letters) with the reason, or were delivered of late, newest first")
    .option("--route <name>", "of this route of the policy only")
    .addOption(new Option("--state <word>", "of this state only").choices(["pending", "delivered", "dead"]))
    .option("--limit <number>", `how many, 1 to ${MAX_LISTED}`, within(1, MAX_LISTED), 100)
    .addOption(formatOption())
    .addHelpText("after", "\nExit: 0 none of these was given up, 1 one was, 2 usage, 3 cannot tell")
    .action(async ({ route = "", state = "", limit, output }: LsFlags, command: Command) =>
      ask(command, async ({ channel, signal, print, nowMs }) => {
        const { notifications } = await channel.client(Query).listNotifications({ route, state, limit }, { signal });
        if (isData(output)) print(serialize(output, { notifications: notifications.map(notificationView) }));
        else if (notifications.length === 0) print("none\n");
        else print(listing(notifications, output === "wide", nowMs));
        return notifications.some((each) => each.state === "dead") ? EXIT.drift : EXIT.clean;
      }),
    );
}

function notificationView(each: Notification): Record<string, unknown> {
  const { id, route, state, firing, resolved, summary, attempts, lastError, stranded } = each;
  return {
    ...{ id, route, state, createdAt: isoTime(each.createdAt), severity: severityWord(each.severity), firing, resolved, summary, attempts },
    ...{ nextTryAt: isoTime(each.nextTryAt), lastError, endedAt: isoTime(each.endedAt), stranded },
  };
}

function listing(notifications: readonly Notification[], wide: boolean, nowMs: number): string {
  const rows = notifications.map((each) => [
    ...[wide ? each.id : each.id.slice(0, SHORT_ID), printable(each.route, 40), each.state, age(each.createdAt, nowMs), severityWord(each.severity)],
    ...[alertsWord(each), `${each.attempts}`, nextWord(each, nowMs), said(each.summary, wide ? 512 : 60)],
    printable(reasonOf(each), wide ? 500 : 80),
  ]);
  return table(["ID", "ROUTE", "STATE", "AGE", "SEV", "ALERTS", "FAILED", "NEXT", "WHAT", "WHY"], rows);
}

/** The verifier has made names printable: what it escaped is not escaped again, and nothing else of it reaches the terminal as it is. */
function said(text: string, maxCharacters: number): string {
  return printable(text, maxCharacters).replaceAll("\\\\", "\\");
}

function alertsWord({ firing, resolved }: Notification): string {
  return [...(firing > 0 ? [`${firing}`] : []), ...(resolved > 0 ? [`${resolved} over`] : [])].join(", ");
}

function nextWord({ state, nextTryAt, stranded }: Notification, nowMs: number): string {
  if (state !== "pending") return "-";
  const seconds = Math.ceil(((toMs(nextTryAt) ?? nowMs) - nowMs) / 1000);
  return stranded ? "never" : seconds <= 0 ? "now" : `${seconds}s`;
}

function reasonOf({ stranded, lastError }: Notification): string {
  return stranded ? "no such route in the policy, or it cannot work: see the verifier's log" : lastError || "-";
}

interface RetryFlags {
  readonly dead?: boolean;
  readonly route?: string;
}

function retryCommand(): Command {
  return new Command("retry")
    .description("try again now what waits or was given up (responder role)")
    .argument("[ids...]", "as alert ls shows them")
    .option("--dead", "everything that was given up")
    .option("--route <name>", "with --dead: of this route only")
    .addHelpText("after", "\nWhat becomes of it: alert ls. Exit: 0 due now, 1 one is not there or was delivered, 2 usage, 3 cannot tell")
    .action(async (ids: string[], { dead = false, route }: RetryFlags, command: Command) => {
      if (dead === ids.length > 0 || (route !== undefined && !dead))
        command.error("hullmark: name notifications, or use --dead (and --route with it)", { exitCode: EXIT.usage });
      await ask(command, async (asking) => {
        const wanted = dead ? await deadIds(asking, route ?? "") : await wholeIds(asking, ids);
        if (wanted.length === 0) {
          asking.print("none was given up\n");
          return EXIT.clean;
        }
        const due = (await asking.channel.client(Admin).retryNotifications({ ids: wanted }, { signal: asking.signal })).ids;
        asking.print(`${due.length} due now\n`);
        const others = wanted.filter((id) => !due.includes(id));
        for (const id of others) process.stderr.write(`hullmark: ${printable(id, 40)} is not there, or was delivered\n`);
        return others.length === 0 ? EXIT.clean : EXIT.drift;
      });
    });
}

async function deadIds({ channel, signal }: Asking, route: string): Promise<string[]> {
  const { notifications } = await channel.client(Query).listNotifications({ route, state: "dead", limit: MAX_LISTED }, { signal });
  return notifications.map(({ id }) => id);
}

/** What is not whole is looked up among the newest; what names none, or several, goes as it is and is refused. */
async function wholeIds({ channel, signal }: Asking, ids: readonly string[]): Promise<string[]> {
  if (ids.every((id) => /^[0-9a-f]{32}$/.test(id))) return [...ids];
  const { notifications } = await channel.client(Query).listNotifications({ limit: MAX_LISTED }, { signal });
  return ids.map((id) => {
    const [one, another] = notifications.filter((each) => id.length >= 6 && each.id.startsWith(id));
    return one && !another ? one.id : id;
  });
}
