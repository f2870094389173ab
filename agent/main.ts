/** The agent's composition root: reads the configuration, wires adapters to the core, runs until a signal. */
import "@hullmark/daemon/node-version";
import "./adapters/host/engine-flags.ts";
import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ownProgram, processesApart, runApart, sealApart } from "@hullmark/capture/apart";
import { CaptureError } from "@hullmark/capture/capture";
import type { CaptureFiles } from "@hullmark/capture/capture-files";
import { expireCaptures } from "@hullmark/capture/expiry";
import { HandOut } from "@hullmark/capture/hand-out";
import { dieAt, openLog, readCommandLine, runTasks, stopOnSignals, type Task, VERSION } from "@hullmark/daemon";
import { openBootLog } from "./adapters/boot-log/boot-log-file.ts";
import { checkpointFile } from "./adapters/checkpoint-file/checkpoint-file.ts";
import { systemClock } from "./adapters/clock/system-clock.ts";
import { CriRuntime } from "./adapters/cri/cri-runtime.ts";
import { DeltaFiles } from "./adapters/delta-files/delta-files.ts";
import { DockerRuntime } from "./adapters/docker/docker-runtime.ts";
import { FileSpool } from "./adapters/file-spool/file-spool.ts";
import { GrpcSink } from "./adapters/grpc/grpc-sink.ts";
import { TrustedCa } from "./adapters/grpc/trusted-ca.ts";
import { architecture, bootId, kernelRelease, missingCapabilities, ownDigests } from "./adapters/host/host-facts.ts";
import { keepMemorySmall } from "./adapters/host/memory.ts";
import { imaListFile } from "./adapters/ima/ima-list-file.ts";
import { NoRuntime } from "./adapters/no-runtime/no-runtime.ts";
import { nodeFiles } from "./adapters/node-files/node-files.ts";
import { ProcfsInspector } from "./adapters/procfs/procfs-inspector.ts";
import { MountInfoRootFilesystem } from "./adapters/rootfs/mountinfo-root.ts";
import { Tpm2Quoter } from "./adapters/tpm2/index.ts";
import { nativeContent } from "./adapters/tree/native-content.ts";
import { nativeMeasurer } from "./adapters/tree/native-measurer.ts";
import { openChangeSource } from "./change-sources.ts";
import { type AgentConfig, loadConfig } from "./config.ts";
import { CaptureDesk, NODE_CAPTURE_FAILPOINTS, type NodeCaptureFailpoint } from "./core/capture-desk.ts";
import { ChangeSourceKeeper } from "./core/change-source-keeper.ts";
import { codeInspection } from "./core/code-inspection.ts";
import { comparedVariables } from "./core/compared-variables.ts";
import { FileContents } from "./core/file-contents.ts";
import { NodeAgent } from "./core/node-agent.ts";
import { NodeCondition } from "./core/node-state.ts";
import { answerChallenge } from "./core/quoting.ts";
import { Session } from "./core/session.ts";
import { StoppedContainers } from "./core/stopped-containers.ts";
import { answerTree } from "./core/tree-answers.ts";
import type { ContainerRuntime } from "./ports/container-runtime.ts";
import type { Quoter } from "./ports/quoter.ts";

const HEALTH_INTERVAL_MS = 5_000;
const EXPIRE_INTERVAL_MS = 600_000;
/** After a start a capture waits for what its container changed to be measured: no longer than this part of what it may take itself. Of the default, both are within the patience that policy has by itself. */
const SETTLE_SHARE = 2 / 3;
/** After the first SIGTERM the session hands over what is spooled; whatever hangs then ends here. Below a pod's default grace period of 30 s. */
const STOP_MS = 5_000;

const USAGE = `hullmark-agent --config FILE [--check-config | --show-identity | --self-test]

  --config FILE    configuration (YAML; deploy/config/agent.example.yaml explains every key)
  --check-config   say whether the configuration is good, and end
  --show-identity  print what an operator puts on the verifier's allow-list (the agent must not be running), and end
  --self-test      say as JSON what this host offers (fanotify, capabilities), and end
  --version, --help
`;

async function start(config: AgentConfig, signal: AbortSignal): Promise<void> {
  const log = openLog(config.log.level, { nodeName: config.nodeName });
  mkdirSync(config.stateDirectory, { recursive: true, mode: 0o700 });
  const boot = bootId();
  const spool = new FileSpool({ directory: join(config.stateDirectory, "spool"), maxBytes: config.spool.maxBytes, bootId: boot });
  const quoter = openQuoter(config, () => {
    log.warn("the TPM was cleared or replaced: a new attestation key was made, and the node enrols with it");
    condition.happened("attestation-key-replaced", "the TPM was cleared or replaced: a new attestation key was made", Date.now());
    agent.publish();
    sink.enrolAnew();
  });
  const condition = new NodeCondition({
    agentVersion: VERSION,
    nodeName: config.nodeName,
    kernel: kernelRelease(),
    architecture: architecture(),
    missingCapabilities: missingCapabilities(),
    agentDigests: await ownDigests(import.meta.filename),
  });
  condition.setTpm(quoter ? "starting" : "absent");
  const { eventLog } = config.measuredBoot;
  const bootLog = await openBootLog(quoter === undefined || eventLog === "none" ? undefined : eventLog);
  const imaList = imaListFile(config.measuredBoot.imaList === "none" ? undefined : config.measuredBoot.imaList);
  if (bootLog.problem !== undefined) condition.stand("boot-log", bootLog.problem, Date.now());
  const ca = new TrustedCa(config.verifier.caFile, join(config.stateDirectory, "learnt-ca.pem"));
  const sink = new GrpcSink({
    address: config.verifier.address,
    clock: systemClock,
    joinToken: () => readJoinToken(config.joinTokenFile),
    credentialFile: join(config.stateDirectory, "credential.json"),
    enrolment: {
      address: config.verifier.enrolmentAddress,
      // Read at each use: a verifier that was made anew has another CA, and whoever brought its certificate brings the new one.
      get caCertificate() {
        return ca.pem;
      },
      learnRoots: (roots) => {
        try {
          ca.learn(roots);
        } catch (err) {
          log.warn({ err }, "the verifier's new CA could not be kept: it is told again with the next certificate");
        }
      },
      nodeName: config.nodeName,
      bootId: boot,
      quoter,
      pcrs: config.tpm.pcrs,
      serviceAccountToken:
        config.serviceAccountTokenFile === undefined ? undefined : () => readFileSync(config.serviceAccountTokenFile as string, "utf8").trim(),
    },
    enrolled: ({ nodeId }, notAfterMs) => log.info({ nodeId, notAfter: new Date(notAfterMs).toISOString() }, "enrolled"),
  });
  const source = await openChangeSource(config.changes.source, config.stateDirectory, (reason) => log.warn({ reason }, "fanotify is not used"));
  const inspector = new ProcfsInspector();
  const code = codeInspection(inspector, systemClock);
  let session: Session | undefined;
  const runtime = openRuntime(config.runtime);
  const agent = new NodeAgent({
    runtime,
    rootFilesystem: new MountInfoRootFilesystem(),
    measurer: nativeMeasurer(),
    files: nodeFiles,
    spool,
    clock: systemClock,
    watcher: source,
    code,
    condition,
    bootId: boot,
    random: Math.random,
    randomKey: () => randomBytes(32),
    scrubBytesPerSecond: config.scrub.bytesPerSecond,
    spooled: () => session?.notify(),
    log: { info: (message, fields) => log.info(fields ?? {}, message), warn: (message, fields) => log.warn(fields ?? {}, message) },
  });
  const contents = new FileContents({
    rules: config.contents.allow.length > 0 ? config.contents : undefined,
    reader: nativeContent,
    place: (containerId, layerId) => agent.place(containerId, layerId),
    clock: systemClock,
    log: (message, fields) => log.info(fields, message),
  });
  const passing = dieAt<NodeCaptureFailpoint>(NODE_CAPTURE_FAILPOINTS, process.env);
  const captures = await openCaptures(config, agent, passing);
  const desk = captures && captureDesk(captures, agent, config.capture.maxSeconds * SETTLE_SHARE * 1000, log, passing);
  const handOut = new HandOut({
    captures: config.capture.handOut ? captures : undefined,
    upload: (part) => sink.uploadCapture(part),
    nowMs: () => Date.now(),
    told: (what, facts) => log.info(facts, what),
  });
  const stopped = new StoppedContainers(runtime);
  session = new Session({
    sink,
    spool,
    clock: systemClock,
    agentVersion: VERSION,
    bootId: boot,
    random: Math.random,
    losses: () => condition.losses,
    contents: contents.enabled,
    captures: captures !== undefined,
    checkpoints: checkpointFile(join(config.stateDirectory, "log-checkpoint")),
    handlers: {
      quote: (challenge, callSignal) =>
        answerChallenge(
          challenge,
          quoter,
          {
            bootId: boot,
            pcrs: config.tpm.pcrs,
            eventLogSha256: bootLog.sha256,
            imaList,
            position: () => agent.position(),
            policyDigest: () => agent.policyDigest(),
            spkiSha256: () => sink.spkiSha256(),
            binding: () => sink.binding(),
          },
          callSignal,
        ),
      bootLog: () => bootLog.read(),
      content: (request) => contents.answer(request),
      variables: (request) => {
        log.info({ containers: request.containerIds.slice(0, 8), names: request.names.length }, "the verifier asks which variables are equal");
        return comparedVariables(request, (id) => agent.factsOf(id));
      },
      stopped: (request) => stopped.answer(request),
      capture: async (request) => desk?.answer(request) ?? { id: request.id, problem: "this node captures nothing" },
      captureWanted: (wanted) => void handOut.answer(wanted).catch((err: unknown) => log.warn({ err }, "a capture could not be handed out")),
      tree: async (request) => answerTree(request, await agent.tree(request.tree)),
      policy: (policy) => agent.setPolicy(policy),
      resync: (reason, lost) => {
        log.warn({ reason, lost }, "sending the whole state");
        agent.requestFull();
      },
      connected: (connected) => log.info({ connected }, connected ? "verifier connected" : "verifier disconnected"),
      failed: (err, waitMs) => {
        // The verifier no longer knows the certificate's node, or refuses it: enrol again.
        if ((err as { code?: string }).code === "UNAUTHENTICATED") sink.forgetCredential();
        log.warn({ err, waitMs }, "attestation stream failed");
      },
    },
  });
  const changes = new ChangeSourceKeeper({
    source,
    handler: {
      changes: (batch) => agent.changes(batch),
      lost: (detail) => agent.eventsLost(detail),
      processStarted: (containerId, pid, entrance) => {
        inspector.started(containerId, pid);
        code.started(containerId, pid, entrance);
        void agent.processStarted(containerId);
      },
    },
    clock: systemClock,
    works: () => {
      condition.setChangeSource(source.capabilities.kind, source.capabilities.attribution);
      agent.publish();
    },
    fails: (err) => {
      log.error({ err }, "change source failed");
      condition.setChangeSource("", false);
      agent.publish();
    },
  });
  await changes.start();
  if (source.capabilities.kind === "chokidar")
    condition.stand("chokidar", "fallback change source: no attribution, and layers are looked at by rescans only", Date.now());
  if (config.runtime.none) condition.stand("no-runtime", "configured to look at no containers (runtime.none)", Date.now());
  log.info({ version: VERSION, changes: source.capabilities.kind, tpm: config.tpm.tcti !== "none" }, "agent started");
  const live = session;
  const tpmHealth: Task = (taskSignal) => watchTpm(quoter, condition, agent, taskSignal);
  try {
    await runTasks(
      {
        runtime: (s) => agent.followRuntime(s),
        ping: (s) => agent.pingRuntime(s),
        memory: (s) => keepMemorySmall(systemClock, s),
        look: (s) => agent.lookAround(s),
        changes: (s) => changes.run(s),
        rescan: (s) => agent.rescanPeriodically(s),
        tpm: tpmHealth,
        session: (s) => live.run(s),
        captures: (s) => keepExpiring(config, log, s),
      },
      signal,
    );
  } finally {
    await source.stop();
    agent.close();
    await quoter?.close();
    spool.close();
  }
}

function capturesIn({ stateDirectory }: Pick<AgentConfig, "stateDirectory">): string {
  return join(stateDirectory, "captures");
}

/** undefined: nothing is captured. What it needs is loaded by whoever captures alone: an agent is small. @throws Error where a recipient is none */
async function openCaptures(
  { capture: { recipients, ...limits }, stateDirectory }: AgentConfig,
  agent: NodeAgent,
  passing: (point: NodeCaptureFailpoint) => void,
): Promise<CaptureFiles | undefined> {
  if (recipients.length === 0) return undefined;
  const { CaptureFiles } = await import("@hullmark/capture/capture-files");
  const seal = sealApart(ownProgram(), recipients);
  await seal(Buffer.alloc(0));
  const filesOf = (containerId: string): DeltaFiles => {
    if (!agent.measured(containerId)) throw new CaptureError("there is no such container on this node");
    return new DeltaFiles(() => agent.measured(containerId), nativeContent);
  };
  const own = { directory: capturesIn({ stateDirectory }), required: false, processes: processesApart(ownProgram(), "/proc"), nowMs: () => Date.now() };
  return new CaptureFiles({ ...limits, ...own, seal, filesOf, passing });
}

function captureDesk(
  captures: CaptureFiles,
  agent: NodeAgent,
  settleMs: number,
  log: ReturnType<typeof openLog>,
  passing: (point: NodeCaptureFailpoint) => void,
): CaptureDesk {
  return new CaptureDesk({
    captures,
    nameOf: (containerId) => agent.measured(containerId)?.name,
    settled: (containerId) => agent.settled(containerId, settleMs),
    clock: systemClock,
    log: (message, fields) => log.info(fields, message),
    passing,
  });
}

/** Also where nothing is captured any more: what was, is kept for its time and no longer. */
async function keepExpiring(config: AgentConfig, log: ReturnType<typeof openLog>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      expireCaptures({ directory: capturesIn(config), keepHours: config.capture.keepHours, nowMs: () => Date.now() });
    } catch (err) {
      log.warn({ err }, "captures that were kept for long enough cannot be removed");
    }
    await systemClock.sleep(EXPIRE_INTERVAL_MS, signal);
  }
}

function openRuntime(runtime: AgentConfig["runtime"]): ContainerRuntime {
  if (runtime.cri) {
    const { socket, kubeletDirectory, otherContainers } = runtime.cri;
    return new CriRuntime({ socketPath: socket, kubeletDirectory, reportOthers: otherContainers === "report" });
  }
  if (runtime.none) return new NoRuntime();
  return new DockerRuntime({ socketPath: runtime.docker.socket });
}

async function watchTpm(quoter: Quoter | undefined, condition: NodeCondition, agent: NodeAgent, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (quoter) {
      const { ok, detail } = await quoter.health(signal).catch(() => ({ ok: false, detail: "no answer" }));
      if (signal.aborted) return;
      condition.setTpm(ok ? "ok" : detail);
      agent.publish();
    }
    await systemClock.sleep(HEALTH_INTERVAL_MS, signal);
  }
}

/** undefined: no token was brought, or it was taken away after use. */
function readJoinToken(file: string | undefined): string | undefined {
  try {
    return file === undefined ? undefined : readFileSync(file, "utf8").trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** What this host offers the agent, as JSON: whether fanotify works, and if not why. */
async function selfTest({ stateDirectory }: AgentConfig): Promise<void> {
  mkdirSync(stateDirectory, { recursive: true, mode: 0o700 });
  let declined: string | undefined;
  const source = await openChangeSource("auto", stateDirectory, (reason) => {
    declined = reason;
  });
  console.log(JSON.stringify({ changes: source.capabilities.kind, declined: declined ?? null, missingCapabilities: missingCapabilities() }));
}

function openQuoter(config: AgentConfig, akReplaced?: () => void): Quoter | undefined {
  if (config.tpm.tcti === "none") return undefined;
  const stateDir = join(config.stateDirectory, "tpm");
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  return new Tpm2Quoter({ tcti: config.tpm.tcti, banks: config.tpm.pcrBanks, stateDir, ...(akReplaced && { akReplaced }) });
}

/** The EK's hash, as the verifier's allow-list wants it. */
async function showIdentity(config: AgentConfig): Promise<void> {
  const quoter = openQuoter(config);
  if (!quoter) throw new Error("this node has no TPM (tpm.tcti: none): it joins by token");
  try {
    const { ekCertificate } = await quoter.identify(new AbortController().signal);
    if (!ekCertificate) throw new Error("the TPM holds no EK certificate; the verifier's log names the EK when it refuses the first enrolment");
    const spki = new X509Certificate(ekCertificate).publicKey.export({ type: "spki", format: "der" });
    const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
    console.log(JSON.stringify({ nodeName: config.nodeName, ekSha256: sha256(spki), certificateSha256: sha256(ekCertificate) }));
  } finally {
    await quoter.close();
  }
}

async function main(args: readonly string[]): Promise<number> {
  const apart = await runApart(args);
  if (apart !== undefined) return apart;
  const command = readCommandLine(args, { usage: USAGE, flags: ["show-identity", "self-test"], load: loadConfig });
  if (typeof command === "number") return command;
  const { config, flag } = command;
  try {
    if (flag === "show-identity") await showIdentity(config);
    else if (flag === "self-test") await selfTest(config);
    // What is measured is spooled already; the stream gets a moment to hand it over, and the spool keeps the rest.
    else
      await start(
        config,
        stopOnSignals(() => void setTimeout(() => process.exit(0), STOP_MS).unref()),
      );
    return 0;
  } catch (error) {
    console.error(error);
    return 1;
  }
}

process.exitCode = await main(process.argv.slice(2));
