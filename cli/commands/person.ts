/** `hullmark person add|ls|revoke|allow`: who may ask and decide: a certificate for each, with a role, taken back at once where need be. */

import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Admin } from "@hullmark/proto/v1/admin";
import { type Person, Query } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command, Option } from "commander";
import { stringify } from "yaml";
import { ADDRESS_PATTERN, type Context } from "../connection/context.ts";
import { ContextError } from "../connection/context-error.ts";
import { ask, contextOf } from "../connection/run.ts";
import { type Called, helpCalled, isPlugin } from "../kubectl/invocation.ts";
import { because } from "../output/because.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, isData, parseFormat, serialize } from "../output/format.ts";
import { replaceFile } from "../output/replace-file.ts";
import { table } from "../output/table.ts";
import { isoTime, toMs } from "../output/words.ts";
import { within } from "./numbers.ts";

const ROLES = ["viewer", "responder", "approver", "admin"];
/** As `kubectl port-forward service/…-verifier 7443 7480` brings the verifier of a cluster. */
const FORWARDED = { name: "cluster", address: "localhost:7443", logUrl: "http://localhost:7480/log" };

export function personCommand(): Command {
  const person = new Command("person");
  for (const each of [addCommand(), lsCommand(), revokeCommand(), allowCommand()]) person.addCommand(each);
  return person;
}

interface AddFlags {
  readonly role: string;
  readonly in?: readonly string[];
  readonly dir: string;
  readonly days: number;
  readonly address?: string;
}

function addCommand(): Command {
  return new Command("add")
    .description("make key, certificate and configuration for a person, and log it (admins)")
    .argument("<name>", "by which the log and others know them; whoever has a name keeps what they had until it ends or is revoked")
    .addOption(new Option("--role <role>", "each may do what those before it may").choices(ROLES).makeOptionMandatory())
    .option(
      "--in <namespace>",
      "where alone the role holds: an exact name, up to 16 times; without it, in the whole cluster",
      (name: string, before: readonly string[] = []) => [...before, name],
    )
    .requiredOption("--dir <directory>", "made with mode 0700; ~/.config/hullmark of the person is where the command looks")
    .option("--address <host:port>", "of the verifier's main listener, for the new configuration; default: that of the context, where it is one by certificate")
    .option("--days <days>", "how long it is good, 1 to 366", within(1, 366), 365)
    .addHelpText(
      "after",
      "\nWhoever holds the key is the person: hand the directory over by a safe way, and keep no copy. Exit: 0 made, 2 usage or no right, 3 cannot tell",
    )
    .action(async (name: string, { role, in: namespaces, dir, days, address }: AddFlags, command: Command) =>
      ask(command, async ({ channel, print, signal, command: called }) => {
        // The plugin's own -n says what lists show: nobody gets the whole cluster for having meant the other.
        if (command.optsWithGlobals<{ readonly namespace?: string }>().namespace !== undefined)
          throw new ContextError("-n says what lists show: where a role holds is --in NAMESPACE");
        const { name: context, ...where } = isPlugin(command) ? FORWARDED : mainListener(contextOf(command), address);
        const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
        // A verifier of before knows `namespaced` not, and refuses a certificate without a role: it makes none that holds everywhere.
        const granted = namespaces ? { namespaced: { role, namespaces: [...namespaces] } } : { role };
        const request = { name, ...granted, publicKey: publicKey.export({ type: "spki", format: "der" }), days };
        const [{ certificateChain, expiresAt }, { caCertificates, logVerifierKeys }] = await Promise.all([
          channel.client(Admin).issuePersonCertificate(request, { signal }),
          channel.client(Query).listKeys({}, { signal }),
        ]);
        const files = { caFile: "ca.crt", certFile: "client.crt", keyFile: "client.key", logKeyFile: "log.pub" };
        const entry = { address: address ?? where.address, ...files, ...(where.logUrl !== undefined && { logUrl: where.logUrl }) };
        writeAll(called, dir, {
          "client.key": privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
          "client.crt": certificateChain.map((der) => new X509Certificate(der).toString()).join(""),
          "ca.crt": caCertificates,
          "log.pub": logVerifierKeys,
          "config.yaml": stringify({ currentContext: context, contexts: { [context]: entry } }),
        });
        print(
          `${printable(name, 64)}, ${roleText({ role, namespaces: namespaces ?? [] })}: ${printable(dir)}, until ${new Date(toMs(expiresAt) ?? 0).toISOString()}\n`,
        );
        return EXIT.clean;
      }),
    );
}

/** A certificate is nothing where people come with tokens. @throws ContextError before anything is issued */
function mainListener(context: Context, address: string | undefined): Context {
  if (address !== undefined && !ADDRESS_PATTERN.test(address)) throw new ContextError(`--address ${printable(address, 200)}: want host:port`);
  if (address === undefined && context.certFile === undefined)
    throw new ContextError(
      `the context "${context.name}" asks at the listener for tokens: name the main one, where certificates count, by --address HOST:PORT`,
    );
  return context;
}

const roleText = ({ role, namespaces }: { readonly role: string; readonly namespaces: readonly string[] }): string =>
  namespaces.length > 0 ? `${role} in ${namespaces.join(", ")}` : role;

function writeAll(called: Called, directory: string, files: Readonly<Record<string, string>>): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    for (const [name, content] of Object.entries(files)) replaceFile(join(directory, name), content, 0o600);
  } catch (cause) {
    throw new ContextError(`${directory} cannot be written: ${because(cause)}; what was issued is good all the same: ${called} person revoke`, { cause });
  }
}

function lsCommand(): Command {
  return new Command("ls")
    .description("who was given a certificate, and from whom it was taken; without those that the verifier makes for itself")
    .addOption(new Option("-o, --output <format>", "table, wide, json or yaml").default("table").argParser(parseFormat))
    .action(async ({ output }: { readonly output: Format }, command: Command) =>
      ask(command, async ({ channel, signal, print, nowMs }) => {
        const { people } = await channel.client(Query).listPeople({}, { signal });
        const shown = people.map(({ name, role, namespaces, issuedAt, issuedBy, expiresAt, revokedAt, revokedBy, revokedReason, tokensSince }) => ({
          ...{
            name,
            role,
            namespaces,
            state: stateOf({ issuedAt, expiresAt, revokedAt, tokensSince }, nowMs),
            issuedAt: isoTime(issuedAt),
            issuedBy,
            expiresAt: isoTime(expiresAt),
          },
          ...{ revokedAt: isoTime(revokedAt), revokedBy, revokedReason, tokensSince: isoTime(tokensSince) },
        }));
        if (isData(output)) print(serialize(output, { people: shown }));
        else {
          const rows = shown.map(({ name, role, namespaces, state, issuedBy, expiresAt, revokedReason }) => [
            ...[
              printable(name, 64),
              roleText({ role, namespaces }) || "-",
              state,
              expiresAt?.slice(0, 10) ?? "-",
              printable(issuedBy, 40) || "-",
              printable(revokedReason, 60),
            ],
          ]);
          print(table(["NAME", "ROLE", "STATE", "UNTIL", "ISSUED BY", "REVOKED FOR"], rows));
        }
        return EXIT.clean;
      }),
    );
}

type Standing = Pick<Person, "issuedAt" | "expiresAt" | "revokedAt" | "tokensSince">;

/** Of the certificate that was issued last; `allowed`: none counts, and tokens do that were made since. */
function stateOf({ issuedAt, expiresAt, revokedAt, tokensSince }: Standing, nowMs: number): "good" | "revoked" | "allowed" | "expired" {
  if (revokedAt && (toMs(revokedAt) ?? 0) >= (toMs(issuedAt) ?? 0)) return tokensSince ? "allowed" : "revoked";
  return nowMs >= (toMs(expiresAt) ?? 0) ? "expired" : "good";
}

function revokeCommand(): Command {
  return new Command("revoke")
    .description("refuse from now on every certificate and token that a name has, and end what is open by them (admins)")
    .argument(
      "<name>",
      "as person ls and the log have it, SOURCE:NAME of one who comes with tokens; admin, responder and viewer are the verifier's own, which it makes anew",
    )
    .requiredOption("-m, --reason <text>", "why: it is logged")
    .addHelpText("after", "\nExit: 0 revoked, 2 usage or no right, 3 cannot tell")
    .action(async (name: string, { reason }: { readonly reason: string }, command: Command) =>
      ask(command, async ({ channel, print, signal }) => {
        const { known } = await channel.client(Admin).revokePerson({ name, reason }, { signal });
        const unknown = name.includes(":")
          ? ": tokens of this name are refused, should there be any"
          : ": no certificate of this name is known; should there be one, it counts no more";
        print(`revoked${known ? "" : unknown}\n`);
        return EXIT.clean;
      }),
    );
}

function allowCommand(): Command {
  return new Command("allow")
    .description("take back that a name was revoked, for tokens that are made from now on (admins)")
    .argument("<name>", "SOURCE:NAME as person ls has it, or the person's name in people.aliases")
    .requiredOption("-m, --reason <text>", "why: it is logged")
    .addHelpText(
      "after",
      helpCalled(
        "\nCertificates that were revoked stay so: {} person add makes another. Exit: 0 allowed, 2 usage or no right, 3 cannot tell, or it is not revoked",
      ),
    )
    .action(async (name: string, { reason }: { readonly reason: string }, command: Command) =>
      ask(command, async ({ channel, print, signal }) => {
        await channel.client(Admin).allowPerson({ name, reason }, { signal });
        print("allowed: by a token that is made from now on\n");
        return EXIT.clean;
      }),
    );
}
