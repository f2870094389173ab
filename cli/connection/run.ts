/** How every command that asks the verifier runs: context, channel, answer, exit code; and one line where it cannot. */
import { type RpcChannel, RpcError } from "@hullmark/proto/rpc";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { Command } from "commander";
import { EXIT } from "../output/exit-codes.ts";
import { type Context, ContextError, defaultConfigPath, loadContext, openChannel } from "./context.ts";

export interface Asking {
  readonly channel: RpcChannel;
  readonly context: Context;
  readonly signal: AbortSignal;
  print(text: string): void;
  readonly nowMs: number;
}

/** The context that the command's options, else the environment, name. @throws ContextError */
export function contextOf(command: Command): Context {
  const { config, context } = command.optsWithGlobals<{ readonly config?: string; readonly context?: string }>();
  return loadContext(config ?? defaultConfigPath(process.env), context);
}

/** Runs `work`; its number is the exit code. A verifier that cannot be reached is "cannot tell", never "clean". */
export async function ask(command: Command, work: (asking: Asking) => Promise<number>): Promise<void> {
  const interrupt = new AbortController();
  const onSignal = (): void => interrupt.abort();
  process.once("SIGINT", onSignal);
  let channel: RpcChannel | undefined;
  try {
    const context = contextOf(command);
    channel = openChannel(context);
    process.exitCode = await work({ channel, context, signal: interrupt.signal, print: (text) => process.stdout.write(text), nowMs: Date.now() });
  } catch (error) {
    process.exitCode = interrupt.signal.aborted ? 0 : explain(error);
  } finally {
    process.removeListener("SIGINT", onSignal);
    channel?.close();
  }
}

function explain(error: unknown): number {
  if (error instanceof ContextError) return fail(error.message, EXIT.usage);
  if (!(error instanceof RpcError)) throw error;
  const fix = error.detail.fix ? ` (${printable(error.detail.fix, 500)})` : "";
  if (error.code === "UNAVAILABLE" || error.code === "DEADLINE_EXCEEDED")
    return fail(`the verifier does not answer: ${printable(error.message, 500)}`, EXIT.unknown);
  const usage = error.code === "NOT_FOUND" || error.code === "INVALID_ARGUMENT" || error.code === "PERMISSION_DENIED" || error.code === "UNAUTHENTICATED";
  const where = error.code === "INTERNAL" && error.detail.requestId ? ` (the verifier's log says why: requestId ${printable(error.detail.requestId, 64)})` : "";
  return fail(`${printable(error.message, 500)}${fix}${where}`, usage ? EXIT.usage : EXIT.unknown);
}

function fail(message: string, code: number): number {
  process.stderr.write(`hullmark: ${message}\n`);
  return code;
}
