/** How the plugin reaches its verifier: credential from a Secret, connection through the API server. Both need rights in the release's namespace only. */
import { credentials } from "@grpc/grpc-js";
import { RpcChannel } from "@hullmark/proto/rpc";
import * as z from "zod";
import type { Connection } from "../connection/connection.ts";
import { type Credentials, parseRole, readCredentials } from "./credentials.ts";
import { Kubectl, KubectlError } from "./kubectl.ts";
import { openPortForward } from "./port-forward.ts";
import { parseRelease, type Release } from "./release.ts";

export interface PluginOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
  readonly allNamespaces?: boolean;
  /** Always there: it is what tells the plugin from the command. */
  readonly release: string;
  readonly asRole?: string;
}

const RETRY_MS = 1_000;

const View = z.object({
  "current-context": z.string().default(""),
  contexts: z.array(z.object({ context: z.object({ namespace: z.string().optional() }) })).nullish(),
});

/**
 * @param waitMs how long to wait for a verifier that has not come up yet
 * @throws ContextError for what the user has to change; KubectlError
 */
export async function connectThroughCluster(options: PluginOptions, signal: AbortSignal, waitMs: number): Promise<Connection> {
  const kubectl = new Kubectl(options);
  const release = parseRelease(options.release);
  const role = options.asRole === undefined ? undefined : parseRole(options.asRole);
  const [view, credential] = await Promise.all([
    kubectl.run(["config", "view", "--minify", "--output=json"], { signal }).catch(() => "{}"),
    credentialWithin(kubectl, release, role, signal, Date.now() + waitMs),
  ]);
  const { "current-context": name, contexts } = View.parse(JSON.parse(view));
  // First: it throws where these are no certificates, and nobody would end the forward.
  const secure = credentials.createSsl(credential.ca, credential.key, credential.certificate);
  const forward = await openPortForward(kubectl, release, "main", signal);
  const channel = new RpcChannel(forward.address, secure);
  const own = options.namespace ?? contexts?.[0]?.context.namespace ?? "default";
  return {
    channel,
    name: name || "this cluster",
    cluster: { kubectl, release },
    namespace: options.allNamespaces ? undefined : own,
    async close() {
      channel.close();
      await forward.close();
    },
  };
}

/** With time to wait: until the verifier is ready and has filled the Secret. */
async function credentialWithin(
  kubectl: Kubectl,
  release: Release,
  role: ReturnType<typeof parseRole> | undefined,
  signal: AbortSignal,
  untilMs: number,
): Promise<Credentials> {
  for (;;) {
    const leftMs = untilMs - Date.now();
    if (leftMs > 0) await verifierReady(kubectl, release, signal, leftMs);
    const found = await readCredentials(kubectl, release, role, signal);
    if (found) return found;
    if (leftMs <= 0) throw new KubectlError("UNREACHABLE", `the verifier of ${release.namespace}/${release.name} has not published its credentials yet`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** Whether or not it becomes so: what is asked next says what is wrong. */
async function verifierReady(kubectl: Kubectl, { namespace }: Release, signal: AbortSignal, withinMs: number): Promise<void> {
  const seconds = Math.max(1, Math.floor(withinMs / 1000));
  const pods = ["--for=condition=Ready", "pod", "--selector=app.kubernetes.io/name=hullmark,app.kubernetes.io/component=verifier"];
  await kubectl.ask(["--namespace", namespace, "wait", ...pods, `--timeout=${seconds}s`], { signal });
}
