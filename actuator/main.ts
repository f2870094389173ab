#!/usr/bin/env node
/** The actuator's process: the only part of Hullmark that holds the container engine's socket for writing, or may evict a cluster's pods. Exit codes: 0 stopped, 1 failed, 2 wrong usage or configuration. */
import "@hullmark/daemon/node-version";
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ownProgram, processesApart, runApart } from "@hullmark/capture/apart";
import { CaptureFiles } from "@hullmark/capture/capture-files";
import { expireCaptures } from "@hullmark/capture/expiry";
import { HandOut } from "@hullmark/capture/hand-out";
import { sealTo } from "@hullmark/capture/seal";
import { dieAt, openLog, readCommandLine, runTasks, stopOnSignals, type Task, VERSION } from "@hullmark/daemon";
import { ApiServer, apiServerOfPod } from "@hullmark/daemon/api-server";
import { DockerEngine } from "./adapters/docker/docker-engine.ts";
import { DockerLayers } from "./adapters/docker/docker-layers.ts";
import { EngineFiles } from "./adapters/engine-files/engine-files.ts";
import { FileLedger } from "./adapters/file-ledger/file-ledger.ts";
import { type Credentials, IntentKeys, readCredentials, VerifierLink } from "./adapters/grpc/verifier-link.ts";
import { CommandHook } from "./adapters/hook/command-hook.ts";
import { KubernetesCluster } from "./adapters/kubernetes/kubernetes-cluster.ts";
import { KubernetesFence } from "./adapters/kubernetes/kubernetes-fence.ts";
import { KubernetesNodes } from "./adapters/kubernetes/kubernetes-nodes.ts";
import { KubernetesRollouts } from "./adapters/kubernetes/kubernetes-rollouts.ts";
import { Lease } from "./adapters/kubernetes/lease.ts";
import { ReadyApiServer } from "./adapters/kubernetes/ready-api-server.ts";
import { type ActuatorConfig, loadConfig } from "./config.ts";
import { Actuator } from "./core/actuator.ts";
import { type ActuatorFailpoint, FAILPOINTS } from "./core/carry-out.ts";
import { ClusterHands } from "./core/cluster-hands.ts";
import type { Hands } from "./core/hands.ts";
import { HostHands } from "./core/host-hands.ts";
import { NodeHands } from "./core/node-hands.ts";
import { PurgeHands } from "./core/purge-hands.ts";
import { LedgerError } from "./ports/ledger.ts";
import { type PullServices, pull } from "./pull.ts";

const USAGE = `hullmark actuator ${VERSION}

usage: actuator --config FILE [--check-config]

  --config FILE    configuration (YAML); deploy/config/actuator.example.yaml explains it
  --check-config   read it, say what is wrong, and stop
  --help           this text
  --version
`;

type Log = ReturnType<typeof openLog>;

const RETRY_MS = 2000;
const EXPIRE_MS = 600_000;

/** For another node or cluster than this process acts for: whoever supervises it starts it anew. */
class OtherCredentials extends Error {}

/** Another process acts by the same ledger, which this one no more knows. */
function isTaken(error: unknown): boolean {
  return error instanceof LedgerError && error.code === "LEDGER_TAKEN";
}

async function start(config: ActuatorConfig, signal: AbortSignal): Promise<void> {
  const started = openLog(config.log.level, {});
  const first = await credentialsOf(config, started, signal);
  if (!first) return;
  const { identity } = first;
  const log = openLog(config.log.level, "cluster" in identity ? { cluster: identity.cluster } : { nodeId: identity.nodeId });
  const passing = dieAt<ActuatorFailpoint>([...new Set(Object.values(FAILPOINTS).flat())], process.env);
  const lease = leaseOf(config, log, passing);
  if (lease && !(await lease.acquire(signal))) return;
  const ledger = new FileLedger(config.stateDirectory, Date.now());
  const captures = openCaptures(config, passing);
  let link = new VerifierLink(config.verifier.address, first);
  /** They are renewed while it runs: by whoever asks for them again, or by the cluster. */
  const reread = (): Credentials => {
    const next = readCredentials(config.credentialDirectory);
    if (JSON.stringify(next.identity) !== JSON.stringify(identity)) throw new OtherCredentials("these are another actuator's credentials: start anew");
    return next;
  };
  const keys = new IntentKeys(first.intentKeys, () => reread().intentKeys);
  const relink = (): void => {
    const next = reread();
    link.close();
    link = new VerifierLink(config.verifier.address, next);
  };
  const actuator = new Actuator({
    ...{ identity, ledger, hands: handsOf(config, captures, ledger, log), nodes: nodesOf(config, ledger, log), purges: purgesOf(config, captures) },
    verify: (message, signature) => keys.verify(message, signature),
    report: (intentId, settled) => link.report(intentId, settled),
    nowMs: () => Date.now(),
    passing,
    told: (what, intent) => log.info({ intent }, what),
  });
  const handOut = new HandOut({
    captures: config.capture.handOut ? captures : undefined,
    upload: (part) => link.upload(part),
    nowMs: () => Date.now(),
    told: (what, facts) => log.info(facts, what),
  });
  const again = async (what: string, work: (s: AbortSignal) => Promise<void>, taskSignal: AbortSignal): Promise<void> => {
    while (!taskSignal.aborted) {
      try {
        await work(taskSignal);
      } catch (error) {
        if (error instanceof OtherCredentials || isTaken(error)) throw error;
        if (!taskSignal.aborted) log.warn({ err: error }, what);
      }
      await delay(RETRY_MS, undefined, { signal: taskSignal }).catch(() => undefined);
    }
  };
  const services: PullServices = {
    asked: (s) => link.asked(s),
    offer: (intent) => actuator.offer(intent),
    capture: (wanted) => handOut.answer(wanted),
    isFatal: isTaken,
    onProblem: (error, what) => log.warn({ err: error }, what),
    retryMs: RETRY_MS,
  };
  const pulling: Task = (s) => again("the stream of intents ended", () => pull(services, s).finally(() => s.aborted || relink()), s);
  const resuming = async (): Promise<void> => {
    ledger.mustBeOurs();
    await actuator.resume();
  };
  const resume: Task = (s) => again("what is begun cannot be ended yet", resuming, s);
  const expire: Task = async (s) => {
    while (!s.aborted) {
      try {
        // Also where nothing is captured any more: what was, is kept for its time and no longer.
        expireCaptures({ directory: capturesIn(config), keepHours: config.capture.keepHours, nowMs: () => Date.now() });
      } catch (error) {
        log.warn({ err: error }, "captures that were kept for long enough cannot be removed");
      }
      await delay(EXPIRE_MS, undefined, { signal: s }).catch(() => undefined);
    }
  };
  log.info({ version: VERSION }, "actuator started");
  try {
    await runTasks({ resume, pull: pulling, expire, ...(lease && { hold: (s: AbortSignal) => lease.hold(s) }) }, signal);
  } finally {
    link.close();
    ledger.close();
    await lease?.release();
  }
}

/** In a cluster the verifier hands them out once it is up; on a host they are there. @returns undefined where the signal came first @throws as {@link readCredentials} */
async function credentialsOf({ credentialDirectory, kubernetes }: ActuatorConfig, log: Log, signal: AbortSignal): Promise<Credentials | undefined> {
  while (!signal.aborted) {
    try {
      const credentials = readCredentials(credentialDirectory);
      if ("cluster" in credentials.identity !== (kubernetes !== undefined))
        throw new Error(`the credentials are of a ${kubernetes ? "node" : "cluster"}'s actuator, and the configuration is not`);
      return credentials;
    } catch (error) {
      if (!kubernetes || (error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      log.info("no credentials yet: the verifier hands them out");
      await delay(RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
  }
  return undefined;
}

/** Of several actuators of a cluster the one that holds it acts; the ledger is opened by that one alone. */
function leaseOf({ kubernetes }: ActuatorConfig, log: Log, passing: (point: ActuatorFailpoint) => void): Lease | undefined {
  if (kubernetes?.lease === undefined) return undefined;
  const identity = `${hostname()}_${randomUUID()}`;
  log.info({ lease: kubernetes.lease, identity }, "waiting for the Lease");
  const onProblem = (error: unknown): void => log.warn({ err: error }, "the Lease cannot be asked for: trying again");
  const { namespace, lease: name } = kubernetes;
  return new Lease(apiOf(kubernetes), { namespace, name, identity, nowMs: () => performance.now(), wallMs: () => Date.now(), onProblem, passing });
}

function apiOf({ apiServer, caFile, tokenFile }: NonNullable<ActuatorConfig["kubernetes"]>): ReadyApiServer {
  const url = apiServer ?? apiServerOfPod(process.env);
  if (url === undefined) throw new Error("kubernetes: this is no pod of a cluster: name the apiServer");
  return new ReadyApiServer(new ApiServer({ url, caFile, tokenFile }));
}

function handsOf({ limits, docker, kubernetes }: ActuatorConfig, captures: CaptureFiles | undefined, ledger: FileLedger, log: Log): Hands {
  const local = { pauseMs: limits.pauseSeconds * 1000, hourlyPercent: limits.hourlyPercent, protect: limits.protect };
  if (!kubernetes) return new HostHands({ engine: new DockerEngine({ socketPath: docker.socket }), captures, limits: local });
  const api = apiOf(kubernetes);
  const cluster = new KubernetesCluster(api, hostname());
  const onUntold = (error: unknown): void => log.warn({ err: error }, "an Event cannot be written");
  return new ClusterHands({
    cluster,
    rollouts: new KubernetesRollouts(api),
    fence: new KubernetesFence(api),
    ledger,
    networkPolicyEnforced: kubernetes.networkPolicyEnforced,
    limits: local,
    ownNamespace: kubernetes.namespace,
    mayHalt: kubernetes.halt,
    onUntold,
  });
}

/** @throws Error where the hook may not be run */
function nodesOf({ nodes, limits, kubernetes }: ActuatorConfig, ledger: FileLedger, log: Log): NodeHands | undefined {
  if (!nodes) return undefined;
  const { hook, ...own } = nodes;
  const named = { ...own, pauseMs: limits.pauseSeconds * 1000 };
  if (hook) return new NodeHands(new CommandHook({ ...hook, timeoutMs: hook.timeoutSeconds * 1000 }), named, ledger);
  if (!kubernetes) return undefined;
  const onUntold = (error: unknown): void => log.warn({ err: error }, "an Event cannot be written");
  return new NodeHands(new KubernetesNodes(apiOf(kubernetes), { instance: hostname(), nowMs: () => Date.now(), onUntold }), named, ledger);
}

function purgesOf({ purge, docker, limits }: ActuatorConfig, captures: CaptureFiles | undefined): PurgeHands | undefined {
  if (!purge) return undefined;
  const { pauseSeconds, hourlyPercent, protect, purgeContainers } = limits;
  const local = { pauseMs: pauseSeconds * 1000, hourlyPercent, protect, purgeContainers };
  const engine = new DockerEngine({ socketPath: docker.socket });
  return new PurgeHands({ engine, layers: new DockerLayers({ socketPath: docker.socket }), captures, limits: local });
}

function capturesIn({ stateDirectory }: Pick<ActuatorConfig, "stateDirectory">): string {
  return join(stateDirectory, "captures");
}

function openCaptures({ capture, stateDirectory, docker }: ActuatorConfig, passing: (point: ActuatorFailpoint) => void): CaptureFiles | undefined {
  if (capture.recipients.length === 0) return undefined;
  const filesOf = (containerId: string) => new EngineFiles(docker.socket, containerId);
  const { recipients, ...limits } = capture;
  const own = { directory: capturesIn({ stateDirectory }), seal: sealTo(recipients), filesOf, processes: processesApart(ownProgram(), "/proc") };
  return new CaptureFiles({ ...limits, ...own, nowMs: () => Date.now(), passing });
}

async function main(args: readonly string[]): Promise<number> {
  const apart = await runApart(args);
  if (apart !== undefined) return apart;
  const command = readCommandLine(args, { usage: USAGE, flags: [], load: loadConfig });
  if (typeof command === "number") return command;
  try {
    await start(
      command.config,
      stopOnSignals(() => {}),
    );
    return 0;
  } catch (error) {
    console.error(error);
    return 1;
  }
}

process.exitCode = await main(process.argv.slice(2));
