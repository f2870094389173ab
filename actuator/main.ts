#!/usr/bin/env node
/** The actuator's process: the only part of Hullmark that holds the container engine's socket for writing. Exit codes: 0 stopped, 1 failed, 2 wrong usage or configuration. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { dieAt, openLog, readCommandLine, runTasks, stopOnSignals, type Task, VERSION } from "@hullmark/daemon";
import { CaptureFiles } from "./adapters/capture/capture-files.ts";
import { DockerEngine } from "./adapters/docker/docker-engine.ts";
import { FileLedger } from "./adapters/file-ledger/file-ledger.ts";
import { readCredentials, VerifierLink } from "./adapters/grpc/verifier-link.ts";
import { type ActuatorConfig, loadConfig } from "./config.ts";
import { Actuator } from "./core/actuator.ts";
import { ACTUATOR_FAILPOINTS } from "./core/carry-out.ts";

const USAGE = `hullmark actuator ${VERSION}

usage: actuator --config FILE [--check-config]

  --config FILE    configuration (YAML); deploy/config/actuator.example.yaml explains it
  --check-config   read it, say what is wrong, and stop
  --help           this text
  --version
`;

const RETRY_MS = 2000;
const EXPIRE_MS = 600_000;

async function start(config: ActuatorConfig, signal: AbortSignal): Promise<void> {
  const credentials = readCredentials(config.credentialDirectory);
  const { nodeId } = credentials.identity;
  const log = openLog(config.log.level, { nodeId });
  const ledger = new FileLedger(config.stateDirectory, Date.now());
  const link = new VerifierLink(config.verifier.address, credentials);
  const captures = openCaptures(config);
  const { pauseSeconds, hourlyPercent, protect } = config.limits;
  const actuator = new Actuator({
    identity: credentials.identity,
    limits: { pauseMs: pauseSeconds * 1000, hourlyPercent, protect },
    engine: new DockerEngine({ socketPath: config.docker.socket }),
    captures,
    ledger,
    verify: (message, signature) => link.verify(message, signature),
    report: (intentId, settled) => link.report(intentId, settled),
    nowMs: () => Date.now(),
    passing: dieAt(ACTUATOR_FAILPOINTS, process.env),
    told: (what, intent) => log.info({ intent }, what),
  });
  const again = async (what: string, work: (s: AbortSignal) => Promise<void>, taskSignal: AbortSignal): Promise<void> => {
    while (!taskSignal.aborted) {
      try {
        await work(taskSignal);
      } catch (error) {
        if (!taskSignal.aborted) log.warn({ err: error }, what);
      }
      await delay(RETRY_MS, undefined, { signal: taskSignal }).catch(() => undefined);
    }
  };
  const pull: Task = (s) =>
    again(
      "the stream of intents ended",
      async () => {
        for await (const intent of link.intents(s)) await actuator.offer(intent);
      },
      s,
    );
  const resume: Task = (s) => again("what is begun cannot be ended yet", () => actuator.resume(), s);
  const expire: Task = async (s) => {
    while (!s.aborted) {
      try {
        captures?.expire();
      } catch (error) {
        log.warn({ err: error }, "captures that were kept for long enough cannot be removed");
      }
      await delay(EXPIRE_MS, undefined, { signal: s }).catch(() => undefined);
    }
  };
  log.info({ version: VERSION }, "actuator started");
  try {
    await runTasks({ resume, pull, expire }, signal);
  } finally {
    link.close();
    ledger.close();
  }
}

function openCaptures({ capture, stateDirectory, docker }: ActuatorConfig): CaptureFiles | undefined {
  if (capture.recipients.length === 0) return undefined;
  return new CaptureFiles({ ...capture, directory: join(stateDirectory, "captures"), socketPath: docker.socket, proc: "/proc", nowMs: () => Date.now() });
}

async function main(args: readonly string[]): Promise<number> {
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
