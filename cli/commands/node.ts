/** `hullmark node show|quote|purge|token|allow|actuator|revoke|rm|approve`: one node in full, and who may join the fleet (admins only). */

import { RpcError } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import { TrustLevel, Verdict } from "@hullmark/proto/v1/common";
import { type Node, Query } from "@hullmark/proto/v1/query";
import { Response } from "@hullmark/proto/v1/response";
import { printable } from "@hullmark/verifier/core/text/printable";
import { Command, InvalidArgumentError } from "commander";
import { makeActuatorCredentials } from "../connection/actuator-credentials.ts";
import { ask } from "../connection/run.ts";
import { helpCalled } from "../kubectl/invocation.ts";
import { EXIT } from "../output/exit-codes.ts";
import { type Format, formatOption, isData, serialize } from "../output/format.ts";
import { nodePageView, showNode } from "../output/node-page.ts";
import { replaceFile } from "../output/replace-file.ts";
import { toMs } from "../output/words.ts";
import { within } from "./numbers.ts";

const RETRY_MS = 500;

export function nodeCommand(): Command {
  return new Command("node")
    .addCommand(showCommand())
    .addCommand(quoteCommand())
    .addCommand(purgeCommand())
    .addCommand(tokenCommand())
    .addCommand(allowCommand())
    .addCommand(actuatorCommand())
    .addCommand(revokeCommand())
    .addCommand(removeCommand())
    .addCommand(approveCommand());
}

function showCommand(): Command {
  return new Command("show")
    .description("what is known of a node: its verdict, and what it booted as its TPM proves it")
    .argument("<node>", "name or id")
    .addOption(formatOption())
    .option("--ear", "print the signed Attestation Result instead: a JWT by the keys of /.well-known/jwks.json")
    .addHelpText("after", "\nExit: 0 clean, 1 a bad verdict, 2 usage, 3 cannot tell")
    .action(async (id: string, { output, ear }: { readonly output: Format; readonly ear?: boolean }, command: Command) =>
      ask(command, async ({ channel, print, signal, nowMs, command: called }) => {
        const answer = await channel.client(Query).getNode({ id }, { signal });
        if (ear) print(`${(await channel.client(Query).issueEar({ node: id }, { signal })).jwt}\n`);
        else print(isData(output) ? serialize(output, nodePageView(answer)) : showNode(answer, nowMs, called));
        const verdict = answer.node?.verdict;
        if (verdict === Verdict.CONTRAINDICATED) return EXIT.drift;
        return verdict === Verdict.AFFIRMING || verdict === Verdict.WARNING ? EXIT.clean : EXIT.unknown;
      }),
    );
}

function quoteCommand(): Command {
  return new Command("quote")
    .description("ask a node's TPM for a quote now, and wait for what comes of it (responders)")
    .argument("<node>", "name or id")
    .option("--wait <seconds>", "for the answer, 1 to 3600", within(1, 3600), 60)
    .addHelpText("after", "\nExit: 0 it holds, 1 it was refused, 2 usage, 3 no answer in time, or the node is not connected or has no TPM")
    .action(async (id: string, { wait }: { readonly wait: number }, command: Command) =>
      ask(command, async ({ channel, print, signal, nowMs }) => {
        const fetched = async () => (await channel.client(Query).getNode({ id }, { signal })).node;
        const before = await fetched();
        if (before?.trustLevel === TrustLevel.NONE) {
          process.stderr.write("hullmark: this node has no TPM to quote\n");
          return EXIT.unknown;
        }
        await channel.client(Admin).requestQuote({ nodeId: id }, { signal });
        for (const untilMs = nowMs + wait * 1000; ; await new Promise((resolve) => setTimeout(resolve, RETRY_MS))) {
          const node = await fetched();
          const heldMs = toMs(node?.lastQuote) ?? 0;
          if (heldMs > (toMs(before?.lastQuote) ?? 0)) {
            print(`holds: asked for at ${new Date(heldMs).toISOString()}\n`);
            return EXIT.clean;
          }
          const late = Date.now() >= untilMs;
          const refused = refusal(node);
          // One that stood before may be of an earlier quote.
          if (refused !== undefined && (late || refused !== refusal(before))) {
            print(`refused: ${printable(refused, 500)}\n`);
            return EXIT.drift;
          }
          if (!late) continue;
          process.stderr.write(`hullmark: no answer within ${wait} s\n`);
          return EXIT.unknown;
        }
      }),
    );
}

const refusal = (node: Node | undefined): string | undefined => node?.reasons.find(({ code }) => code === "quote-refused")?.detail;

interface PurgeOptions {
  readonly layer: string;
  readonly reason: string;
  readonly byHand?: boolean;
}

function purgeCommand(): Command {
  return new Command("purge")
    .description("take a layer that is not as signed off a Docker host, with every container and image that stands on it, or say that you have (approver role)")
    .argument("<node>", "name or id")
    .requiredOption("--layer <layer>", "its index, or its chain id, as node show has them; of an altered image configuration its last layer's", layer)
    .requiredOption("-m, --reason <text>", "kept with the action and in the log")
    .option("--by-hand", "you have taken it off at the node, as in docs/response.md: what is started on it from now on is measured, and decides")
    .addHelpText("after", "\nNothing is pulled or started again. The host's actuator must allow it (purge: true). Exit: 0 asked for, 2 usage, 3 cannot tell")
    .action(async (node: string, { layer: wanted, reason, byHand = false }: PurgeOptions, command: Command) =>
      ask(command, async ({ channel, print, signal }) => {
        const { action } = await channel.client(Response).purgeLayer({ node, layer: wanted, reason, byHand }, { signal });
        if (byHand) {
          print(`${action?.id} purged ${action?.purge?.chainId} by hand: it is measured when a container is started on it\n`);
          return EXIT.clean;
        }
        const missing = (action?.approvalsNeeded ?? 0) - (action?.approvals.length ?? 0);
        print(`${action?.id} purges ${action?.purge?.chainId}: ${missing > 0 ? `${missing} more must approve it` : "issued"}\n`);
        return EXIT.clean;
      }),
    );
}

/** @throws InvalidArgumentError */
function layer(text: string): string {
  if (!/^(?:\d{1,3}|sha256:[0-9a-f]{64})$/.test(text)) throw new InvalidArgumentError("want an index, or sha256: and 64 hex digits");
  return text;
}

function tokenCommand(): Command {
  return new Command("token")
    .description("one-time join token for a node without TPM")
    .argument("[name]", "name that the node gets; a node of that name without TPM is taken over")
    .option("--ttl <seconds>", "how long it may be used, 1 to 86400", ttl, 900)
    .option("--wait <seconds>", "try again for that long while the verifier does not answer, 0 to 3600", waitSeconds, 0)
    .option("--output <file>", "write it to a file (mode 0600) instead of printing it")
    .addHelpText("after", "\nWhoever holds the token is the node: keep it secret. Exit: 0 made, 2 usage, 3 cannot tell")
    .action(async (name: string | undefined, { ttl: ttlSeconds, output, wait }: TokenFlags, command: Command) =>
      ask(command, async ({ channel, print, signal, nowMs }) => {
        const create = () => channel.client(Admin).createJoinToken({ nodeName: name ?? "", ttlSeconds }, { signal });
        const { token, expiresAt } = await persistently(create, nowMs + wait * 1000);
        if (output === undefined) print(`${token}\n`);
        else replaceFile(output, `${token}\n`, 0o600);
        const until = toMs(expiresAt);
        if (until !== undefined) process.stderr.write(`usable once, until ${new Date(until).toISOString()}\n`);
        return EXIT.clean;
      }),
    );
}

interface TokenFlags {
  readonly ttl: number;
  readonly wait: number;
  readonly output?: string;
}

/** For a service that starts together with its verifier. @throws RpcError */
async function persistently<T>(call: () => Promise<T>, untilMs: number): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof RpcError) || error.code !== "UNAVAILABLE" || Date.now() > untilMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

function allowCommand(): Command {
  return new Command("allow")
    .description("put a TPM's endorsement key on the allow-list; takes a revocation back")
    .argument("<ek-sha256>", "as hullmark-agent --show-identity prints it, or the SHA-256 of its certificate")
    .option("--name <name>", "name that the node gets", "")
    .action(async (ekSha256: string, { name }: { readonly name: string }, command: Command) =>
      ask(command, async ({ channel, print, signal }) => {
        const { nodeId } = await channel.client(Admin).allowNode({ ekSha256, name }, { signal });
        print(nodeId === "" ? "the TPM with this endorsement key, or this certificate, may join\n" : `node ${nodeId} may join\n`);
        return EXIT.clean;
      }),
    );
}

function actuatorCommand(): Command {
  return new Command("actuator")
    .description("make the credentials of an actuator: the process on a node that may stop and recreate containers, or in the cluster that may evict pods")
    .argument("[node]", "name or id")
    .option("--cluster", "of the cluster that the verifier watches, in place of a node")
    .requiredOption("--dir <directory>", "made with mode 0700; what credentialDirectory of its configuration names")
    .addHelpText("after", "\nWhoever holds the key may learn what the node's actuator is to do, and answer for it. Exit: 0 made, 2 usage, 3 cannot tell")
    .action(async (node: string | undefined, { dir, cluster: ofCluster }: { readonly dir: string; readonly cluster?: boolean }, command: Command) => {
      if ((node !== undefined) === (ofCluster === true)) command.error("error: want a node, or --cluster", { exitCode: EXIT.usage });
      return ask(command, async ({ channel, print, signal }) => {
        const { nodeId, cluster, expiresAt } = await makeActuatorCredentials(channel, { node: node ?? "", cluster: ofCluster === true }, dir, signal);
        const whose = cluster ? `cluster ${cluster}` : `node ${nodeId}`;
        print(`actuator of ${whose}: ${dir}, until ${new Date(toMs(expiresAt) ?? 0).toISOString()}\n`);
        return EXIT.clean;
      });
    });
}

function revokeCommand(): Command {
  return new Command("revoke")
    .description("refuse a node's certificates from now on, and end its session")
    .argument("<node>", "name or id")
    .requiredOption("--reason <text>", "why: it is logged")
    .action(async (node: string, { reason }: { readonly reason: string }, command: Command) =>
      ask(command, async ({ channel, print, signal }) => {
        await channel.client(Admin).revokeNode({ nodeId: node, reason }, { signal });
        print("revoked\n");
        return EXIT.clean;
      }),
    );
}

function removeCommand(): Command {
  return new Command("rm")
    .description("show and count a revoked node no more; it stays revoked, and what is open of it is over")
    .argument("<node>", "name or id")
    .requiredOption("--reason <text>", "why: it is logged")
    .addHelpText(
      "after",
      helpCalled("\nIt comes back only where people allow it: {} node approve ID, or node allow EK. Exit: 0 removed, 2 usage, 3 cannot tell"),
    )
    .action(async (node: string, { reason }: { readonly reason: string }, command: Command) =>
      ask(command, async ({ channel, print, signal }) => {
        const { id = "" } = (await channel.client(Query).getNode({ id: node }, { signal })).node ?? {};
        await channel.client(Admin).removeNode({ nodeId: id, reason }, { signal });
        print(`removed: ${id} stays revoked\n`);
        return EXIT.clean;
      }),
    );
}

function approveCommand(): Command {
  return new Command("approve")
    .description("take a revocation back (the node may enrol again with the TPM that it had), or the alarm that it is cloned or has another attestation key")
    .argument("<node>", "name or id; of one that was removed the id")
    .action(async (node: string, _options: object, command: Command) =>
      ask(command, async ({ channel, print, signal }) => {
        const { nodeId } = await channel.client(Admin).allowNode({ node }, { signal });
        print(`node ${nodeId} may join again\n`);
        return EXIT.clean;
      }),
    );
}

const ttl = within(1, 86_400);
const waitSeconds = within(0, 3600);
