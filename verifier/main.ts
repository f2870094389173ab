#!/usr/bin/env node
/** The verifier's process: arguments, configuration, signals. Exit codes: 0 stopped, 1 failed, 2 wrong usage or configuration. */
import { parseArgs } from "node:util";
import { pino } from "pino";
import { systemClock } from "./adapters/system-clock/index.ts";
import { ConfigError, loadConfig, type VerifierConfig } from "./config.ts";
import { startVerifier, VERSION } from "./verifier.ts";

const USAGE = `hullmark verifier ${VERSION}

usage: verifier --config FILE [--check-config]

  --config FILE    configuration (YAML); deploy/config/verifier.example.yaml explains it
  --check-config   read it, say what is wrong, and stop
  --help           this text
  --version
`;

interface Task {
  readonly name: string;
  /** Ends only when the signal aborts, or by failing. */
  readonly run: (signal: AbortSignal) => Promise<void>;
}

/** Runs tasks until the signal aborts; the first that fails, or returns unasked, ends the others. @throws that failure */
async function run(tasks: readonly Task[], signal: AbortSignal): Promise<void> {
  const failed = new AbortController();
  const all = AbortSignal.any([signal, failed.signal]);
  await Promise.all(
    tasks.map(async ({ name, run: task }) => {
      try {
        await task(all);
        if (!all.aborted) throw new Error(`${name} ended unasked`);
      } catch (error) {
        failed.abort();
        throw error;
      }
    }),
  );
}

function readConfig(args: readonly string[]): VerifierConfig | number {
  let values: { config?: string | undefined; "check-config"?: boolean; help?: boolean; version?: boolean };
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: { config: { type: "string" }, "check-config": { type: "boolean" }, help: { type: "boolean" }, version: { type: "boolean" } },
    }));
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return 2;
  }
  if (values.help || values.version) {
    process.stdout.write(values.help ? USAGE : `${VERSION}\n`);
    return 0;
  }
  if (values.config === undefined) {
    process.stderr.write(`which configuration?\n\n${USAGE}`);
    return 2;
  }
  try {
    const config = loadConfig(values.config);
    if (!values["check-config"]) return config;
    process.stdout.write(`${values.config}: ok\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`${error instanceof ConfigError ? error.message : `${values.config}: ${error instanceof Error ? error.message : String(error)}`}\n`);
    return 2;
  }
}

/** @returns the exit code */
export async function main(args: readonly string[]): Promise<number> {
  const config = readConfig(args);
  if (typeof config === "number") return config;
  const logger = pino({ level: config.logging.level, base: { verifier: config.verifierId } });
  const stopping = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (stopping.signal.aborted) process.exit(1);
    logger.info({ signal: name }, "stopping");
    stopping.abort();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  const service: Task = {
    name: "verifier",
    run: async (signal) => {
      const verifier = await startVerifier({ config, clock: systemClock, logger, environment: process.env });
      const { mainPort, enrolmentPort, httpPort } = verifier;
      logger.info({ mainPort, enrolmentPort, httpPort, version: VERSION }, "ready");
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener("abort", () => resolve(), { once: true });
      });
      await verifier.stop();
    },
  };
  try {
    await run([service], stopping.signal);
    logger.info("stopped");
    return 0;
  } catch (error) {
    logger.fatal({ err: error }, "failed");
    return 1;
  }
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
