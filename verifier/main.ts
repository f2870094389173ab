#!/usr/bin/env node
/** The verifier's process: arguments, configuration, signals. Exit codes: 0 stopped, 1 failed, 2 wrong usage or configuration. */
import "@hullmark/daemon/node-version";
import "./engine.ts";
import { openLog, readCommandLine, runTasks, stopOnSignals, type Task, VERSION } from "@hullmark/daemon";
import { systemClock } from "./adapters/system-clock/index.ts";
import { loadConfig } from "./config.ts";
import { policyProblems } from "./policy-source.ts";
import { startVerifier } from "./verifier.ts";

const USAGE = `hullmark verifier ${VERSION}

usage: verifier --config FILE [--check-config]

  --config FILE    configuration (YAML); deploy/config/verifier.example.yaml explains it
  --check-config   read it and the policy that it names, say what is wrong, and stop
  --help           this text
  --version
`;

/** @returns the exit code */
export async function main(args: readonly string[]): Promise<number> {
  const command = readCommandLine(args, {
    usage: USAGE,
    flags: [],
    load: loadConfig,
    check: ({ policyFile }) => (policyFile === undefined ? [] : policyProblems(policyFile)),
  });
  if (typeof command === "number") return command;
  const { config } = command;
  const logger = openLog(config.logging.level, { verifierId: config.verifierId });
  const stopping = stopOnSignals((signal) => logger.info({ signal }, "stopping"));
  const service: Task = async (signal) => {
    const verifier = await startVerifier({ config, clock: systemClock, logger, environment: process.env });
    const { mainPort, enrolmentPort, httpPort, admissionPort, dashboardPort } = verifier;
    logger.info({ mainPort, enrolmentPort, httpPort, admissionPort, dashboardPort, version: VERSION }, "ready");
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await verifier.stop();
  };
  try {
    await runTasks({ verifier: service }, stopping);
    logger.info("stopped");
    return 0;
  } catch (error) {
    logger.fatal({ err: error }, "failed");
    return 1;
  }
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
