/** How every command that asks the verifier runs: context, channel, answer, exit code; and one line where it cannot. */
import { RpcError } from "@hullmark/proto/rpc";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { Command } from "commander";
import { connectThroughCluster, type PluginOptions } from "../kubectl/connect.ts";
import { asCalled, type Called, calledAs } from "../kubectl/invocation.ts";
import { KubectlError } from "../kubectl/kubectl.ts";
import { EXIT } from "../output/exit-codes.ts";
import type { Connection } from "./connection.ts";
import { type Context, connectByFile, defaultConfigPath, loadContext } from "./context.ts";
import { ContextError } from "./context-error.ts";
import { whyUnreachable } from "./unreachable.ts";

export interface Asking extends Omit<Connection, "close"> {
  readonly signal: AbortSignal;
  print(text: string): void;
  readonly nowMs: number;
  readonly command: Called;
}

type GlobalOptions = { readonly config?: string; readonly context?: string } | PluginOptions;

/** The context that the command's options, else the environment, name. @throws ContextError; also in the plugin of kubectl, which has none */
export function contextOf(command: Command): Context {
  const options = command.optsWithGlobals<GlobalOptions>();
  if ("release" in options) throw new ContextError("the plugin of kubectl has no configuration for this: name everything by options");
  return loadContext(options.config ?? defaultConfigPath(process.env), options.context);
}

/** By a person at the terminal, and by what runs the command in somebody's place (systemd): what was begun is put back by either. */
const ENDINGS = ["SIGINT", "SIGTERM"] as const;

/**
 * Runs `work`; its number is the exit code. A verifier that cannot be reached is "cannot tell", never "clean".
 * @param waitMs how long to wait for a verifier of a cluster that has not come up yet
 */
export async function ask(command: Command, work: (asking: Asking) => Promise<number>, waitMs = 0): Promise<void> {
  const interrupt = new AbortController();
  const onSignal = (): void => interrupt.abort();
  for (const each of ENDINGS) process.once(each, onSignal);
  let connection: Connection | undefined;
  try {
    const options = command.optsWithGlobals<GlobalOptions>();
    connection = "release" in options ? await connectThroughCluster(options, interrupt.signal, waitMs) : await connectByFile(contextOf(command));
    const print = (text: string) => process.stdout.write(text);
    process.exitCode = await work({ ...connection, signal: interrupt.signal, print, nowMs: Date.now(), command: calledAs(command) });
  } catch (error) {
    process.exitCode = interrupt.signal.aborted ? 0 : explain(error, connection?.name ?? "", calledAs(command));
  } finally {
    for (const each of ENDINGS) process.removeListener(each, onSignal);
    await connection?.close();
  }
}

function explain(error: unknown, context: string, called: Called): number {
  if (error instanceof ContextError) return fail(error.message, EXIT.usage);
  if (error instanceof KubectlError) return explainKubectl(error);
  if (!(error instanceof RpcError)) throw error;
  const fix = error.detail.fix ? ` (${printable(asCalled(error.detail.fix, called), 500)})` : "";
  if (error.code === "UNAVAILABLE" || error.code === "DEADLINE_EXCEEDED")
    return fail(`the verifier does not answer: ${printable(whyUnreachable(error.message, context), 500)}`, EXIT.unknown);
  const usage = error.code === "NOT_FOUND" || error.code === "INVALID_ARGUMENT" || error.code === "PERMISSION_DENIED" || error.code === "UNAUTHENTICATED";
  const where = error.code === "INTERNAL" && error.detail.requestId ? ` (the verifier's log says why: requestId ${printable(error.detail.requestId, 64)})` : "";
  return fail(`${printable(asCalled(error.message, called), 500)}${fix}${where}`, usage ? EXIT.usage : EXIT.unknown);
}

function explainKubectl({ code, message }: KubectlError): number {
  const text = printable(message, 1000);
  return code === "UNREACHABLE" ? fail(`the verifier cannot be reached: ${text}`, EXIT.unknown) : fail(text, EXIT.usage);
}

function fail(message: string, code: number): number {
  process.stderr.write(`hullmark: ${message}\n`);
  return code;
}
