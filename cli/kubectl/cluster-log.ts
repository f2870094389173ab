/** The log of the verifier that a cluster runs, and its key: what `log verify` and `log export` of the plugin take where nothing else is named. */
import { ContextError } from "../connection/context-error.ts";
import type { PluginOptions } from "./connect.ts";
import { parseRole, readCredentials } from "./credentials.ts";
import { Kubectl, KubectlError } from "./kubectl.ts";
import { openPortForward } from "./port-forward.ts";
import { parseRelease } from "./release.ts";

export interface ClusterLog {
  /** Prefix under which the log is served, for as long as it is not closed. */
  readonly url: string;
  close(): Promise<void>;
}

/** @throws ContextError, KubectlError; the signal's reason */
export async function openClusterLog(options: PluginOptions, signal: AbortSignal): Promise<ClusterLog> {
  const { address, close } = await openPortForward(new Kubectl(options), parseRelease(options.release), "http", signal);
  return { url: `http://${address}/log`, close };
}

/** The key as the verifier published it, beside its credentials. @throws ContextError, KubectlError; the signal's reason */
export async function clusterLogKey(options: PluginOptions, signal: AbortSignal): Promise<string> {
  const release = parseRelease(options.release);
  const role = options.asRole === undefined ? undefined : parseRole(options.asRole);
  const found = await readCredentials(new Kubectl(options), release, role, signal);
  if (!found) throw new KubectlError("UNREACHABLE", `the verifier of ${release.namespace}/${release.name} has not published its key yet`);
  if (found.logKey === undefined) throw new ContextError(`the Secret of ${release.namespace}/${release.name} holds no key of the log: give --key`);
  return found.logKey;
}
