/** The cluster that the verifier is a pod of: its API server, and what it is told. */
import { join } from "node:path";
import type { Logger } from "pino";
import { ApiServer, apiServerOfPod, followPolicy, PodWatch, publish, publishWebhookCa } from "./adapters/kubernetes/index.ts";
import type { VerifierConfig } from "./config.ts";
import { claimRow } from "./core/fleet/claims.ts";
import { type Told, type UnseenContainer, unseenContainers } from "./core/pods/index.ts";
import type { Clock } from "./ports/clock.ts";
import type { ClaimRow } from "./ports/rows.ts";
import { type PublishedRole, publishedRoles } from "./state-files.ts";

/** After a failure; then each time twice as long. */
const MIN_RETRY_MS = 5_000;
const MAX_RETRY_MS = 60_000;
/** What somebody else wrote over is put right again. */
const AGAIN_MS = 300_000;

/** @throws Error where the cluster is to be asked and no API server is named */
export function clusterOf({ kubernetes }: VerifierConfig, environment: Readonly<Record<string, string | undefined>>): ApiServer | undefined {
  if (!kubernetes) return undefined;
  const url = kubernetes.apiServer ?? apiServerOfPod(environment);
  if (url === undefined) throw new Error("kubernetes: this is no pod of a cluster: name the apiServer");
  return new ApiServer({ url, caFile: kubernetes.caFile, tokenFile: kubernetes.tokenFile });
}

/**
 * Hands CA and credentials to the cluster where that is configured, and keeps them there: the API server may come later than the verifier, and whoever makes the objects anew
 * (`helm upgrade --force`, Argo CD's `Replace=true`) makes them empty.
 * @param filesOf what {@link publishedFiles} gives for a role @returns ends it
 */
export function publishing(
  api: ApiServer,
  config: VerifierConfig,
  filesOf: (role: PublishedRole) => Readonly<Record<string, string>>,
  clock: Clock,
  logger: Logger,
): () => void {
  const targets = config.kubernetes?.publish;
  if (!targets) return () => {};
  const names: Readonly<Record<PublishedRole, string | undefined>> = {
    admin: targets.adminSecret,
    responder: targets.responderSecret,
    viewer: targets.viewerSecret,
    actuator: targets.actuatorSecret,
  };
  const secrets = Object.fromEntries(publishedRoles(config).map((role) => [names[role] ?? "", filesOf(role)]));
  const rootPem = filesOf("admin")["ca.crt"] ?? "";
  return keeping(
    () => publish(api, targets, { rootPem, secrets }),
    (err) => logger.warn({ err, ...targets }, "agents cannot be told this verifier's CA yet: trying again"),
    clock,
  );
}

/** Does it now, soon after each failure, and every {@link AGAIN_MS}. @returns ends it */
function keeping(write: () => Promise<void>, onFailure: (error: unknown) => void, clock: Clock): () => void {
  let cancel = (): void => {};
  let ended = false;
  let retryMs = MIN_RETRY_MS;
  const attempt = async (): Promise<void> => {
    let waitMs = AGAIN_MS;
    try {
      await write();
      retryMs = MIN_RETRY_MS;
    } catch (error) {
      [waitMs, retryMs] = [retryMs, Math.min(2 * retryMs, MAX_RETRY_MS)];
      if (!ended) onFailure(error);
    }
    if (!ended) cancel = clock.after(waitMs, () => void attempt());
  };
  void attempt();
  return () => {
    ended = true;
    cancel();
  };
}

/**
 * The cluster's pods, where they are to be followed: nothing is known of them until {@link PodWatch.run} has listed them.
 * @param onConfigMapRead told of every request for a ConfigMap
 */
export function podsOf(
  api: ApiServer | undefined,
  { kubernetes }: VerifierConfig,
  clock: Clock,
  logger: Logger,
  onConfigMapRead: (result: "read" | "absent" | "failed") => void,
) {
  const rules = kubernetes?.pods;
  if (!api || !rules) return undefined;
  const onProblem = (error: unknown): void => logger.warn({ err: error }, "the cluster's pods cannot be followed: trying again");
  const view = new PodWatch({ api, clock, onProblem, templates: rules.templates, configMaps: rules.configMaps, onConfigMapRead });
  return { view, rules: { graceMs: rules.graceSeconds * 1000, maxAgeMs: rules.maxAgeSeconds * 1000 } };
}

/** The watch is taken up every minute: beyond this the API server has been missed. */
const MISSED_MS = 90_000;

/** What there is to say of the view of pods as a whole. @param told which containers a node's agent tells of, see {@link unseenContainers} */
export function podClaims(pods: ReturnType<typeof podsOf>, told: (nodeName: string) => Told, nowMs: number): readonly ClaimRow[] {
  if (!pods) return [];
  const { heardMs } = pods.view;
  if (heardMs !== undefined && Math.abs(nowMs - heardMs) <= MISSED_MS)
    return [...unseenClaims(unseenContainers(pods.view.all(), told, nowMs - pods.rules.graceMs)), ...unreadClaims(pods.view.unreadConfigMaps)];
  const since = heardMs === undefined ? "not yet" : `not since ${new Date(heardMs).toISOString()}`;
  return [claimRow("pods-away", `the API server told of its pods ${since}`)];
}

function unreadClaims(unread: PodWatch["unreadConfigMaps"]): readonly ClaimRow[] {
  if (!unread) return [];
  return [claimRow("config-maps-unread", `${unread.count} ConfigMaps that variables come from could not be read yet, and are not compared: ${unread.problem}`)];
}

const MAX_SHOWN = 5;

function unseenClaims(unseen: readonly UnseenContainer[]): readonly ClaimRow[] {
  if (unseen.length === 0) return [];
  const shown = unseen.slice(0, MAX_SHOWN).map(({ name, nodeName, agent }) => `${name} on ${nodeName}${agent ? "" : " (no agent)"}`);
  const more = unseen.length > MAX_SHOWN ? ` and ${unseen.length - MAX_SHOWN} more` : "";
  return [claimRow("pods-unseen", `containers that run by the API server's word and that no agent tells of: ${shown.join(", ")}${more}`)];
}

/** Keeps the CA in the webhook's configuration that of this verifier, where one is named. @param trustedPem the CA's certificates @returns ends it */
export function publishingWebhook(api: ApiServer, { kubernetes }: VerifierConfig, trustedPem: () => string, clock: Clock, logger: Logger): () => void {
  const name = kubernetes?.publish?.webhookConfiguration;
  if (name === undefined) return () => {};
  return keeping(
    () => publishWebhookCa(api, name, trustedPem()),
    (err) => logger.warn({ err, webhookConfiguration: name }, "the API server cannot be told this verifier's CA yet: trying again"),
    clock,
  );
}

/** Policy files, of which the first that is there counts: this verifier's copy of the cluster's object, then the operator's. */
export function policyFilesOf({ policyFile, kubernetes, stateDirectory }: VerifierConfig): readonly string[] {
  return [...(kubernetes?.policy ? [join(stateDirectory, "cluster-policy.yaml")] : []), ...(policyFile === undefined ? [] : [policyFile])];
}

/** Keeps the copy like the cluster's object. @returns ends it */
export function followingPolicy(api: ApiServer, config: VerifierConfig, clock: Clock, logger: Logger): () => Promise<void> {
  const object = config.kubernetes?.policy;
  const [file] = policyFilesOf(config);
  if (!object || file === undefined) return async () => {};
  const stop = new AbortController();
  const onProblem = (error: unknown): void => logger.warn({ err: error, ...object }, "the AttestationPolicy cannot be followed: trying again");
  const following = followPolicy(api, { ...object, file }, { clock, onProblem }, stop.signal);
  return async () => {
    stop.abort();
    await following;
  };
}
