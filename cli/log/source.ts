/** Which log is meant, and whose key it must be signed with: options, else the context. */
import { readFileSync } from "node:fs";
import { type NoteVerifierKey, parseVerifierKeys } from "@hullmark/verifier/core/transparency/note";
import type { Command } from "commander";
import type { Context } from "../connection/context.ts";
import { ContextError } from "../connection/context-error.ts";
import { contextOf } from "../connection/run.ts";
import { clusterLogKey, openClusterLog } from "../kubectl/cluster-log.ts";
import type { PluginOptions } from "../kubectl/connect.ts";
import { because } from "../output/because.ts";
import { directoryResources, type ReadResource, urlResources } from "./readers.ts";

export interface SourceOptions {
  readonly url?: string;
  readonly dir?: string;
  readonly key?: string;
}

export interface LogSource extends AsyncDisposable {
  readonly read: ReadResource;
  readonly key: readonly NoteVerifierKey[];
}

/** @throws ContextError, TransparencyError: wrong usage both of them; in the plugin of kubectl also KubectlError and the signal's reason */
export async function logSource(options: SourceOptions, command: Command, signal: AbortSignal): Promise<LogSource> {
  if (options.url !== undefined && options.dir !== undefined) throw new ContextError("give either --url or --dir");
  const plugin = command.optsWithGlobals<Partial<PluginOptions>>();
  if (isOfPlugin(plugin)) return ofCluster(options, plugin, signal);
  const { url, dir, keyFile } = sourceOf(options, command);
  return { read: reader(url, dir), key: parseVerifierKeys(readText(keyFile)), [Symbol.asyncDispose]: nothing };
}

const nothing = async (): Promise<void> => {};
const isOfPlugin = (options: Partial<PluginOptions>): options is PluginOptions => options.release !== undefined;

function reader(url: string, dir: string | undefined): ReadResource {
  if (dir === undefined && !/^https?:\/\//.test(url)) throw new ContextError("--url is an http or https prefix");
  return dir === undefined ? urlResources(url) : directoryResources(dir);
}

/** What is not named is the cluster's. */
async function ofCluster({ url, dir, key }: SourceOptions, plugin: PluginOptions, signal: AbortSignal): Promise<LogSource> {
  const keys = parseVerifierKeys(key === undefined ? await clusterLogKey(plugin, signal) : readText(key));
  if (url !== undefined || dir !== undefined) return { read: reader(url ?? "", dir), key: keys, [Symbol.asyncDispose]: nothing };
  const log = await openClusterLog(plugin, signal);
  return { read: urlResources(log.url), key: keys, [Symbol.asyncDispose]: () => log.close() };
}

/** @throws ContextError */
export function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new ContextError(`${path} cannot be read: ${because(cause)}`, { cause });
  }
}

/** What is not named is the context's: the log that its verifier serves, and the key that stands beside it. @throws ContextError */
function sourceOf({ url, dir, key }: SourceOptions, command: Command): { url: string; dir: string | undefined; keyFile: string } {
  const { logUrl, logKeyFile, name }: Partial<Context> = key !== undefined && (url ?? dir) !== undefined ? {} : contextOf(command);
  const keyFile = key ?? logKeyFile;
  if ((url ?? dir ?? logUrl) === undefined) throw new ContextError(`context "${name}" names no log (logUrl): give --url or --dir`);
  if (keyFile === undefined) throw new ContextError(`context "${name}" names no key of the log (logKeyFile): give --key`);
  return { url: url ?? logUrl ?? "", dir, keyFile };
}
