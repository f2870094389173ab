import { execFile, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { TestbedError } from "./error.ts";
import { identify, isAlive, type ProcessIdentity, signal, waitGone } from "./process-identity.ts";

/** Runs a program to its end. @returns its standard output. @throws TestbedError `start_failed` with its standard error. */
export function run(argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<string> {
  const [file, ...args] = argv as [string, ...string[]];
  return new Promise((resolve, reject) => {
    execFile(file, args, { env: { ...process.env, ...env }, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (error) reject(new TestbedError("start_failed", `${argv.join(" ")}: ${stderr.trim() || error.message}`, { cause: error }));
      else resolve(stdout);
    });
  });
}

/** A long-running program of the test bed, detached from the terminal, its output in a file. */
export interface Daemon {
  readonly name: string;
  readonly process: ProcessIdentity;
  readonly logPath: string;
  /** SIGTERM, then SIGKILL after `graceMs` (default 20,000: a verifier gives calls ten seconds). Idempotent. */
  stop(graceMs?: number): Promise<void>;
  /** SIGKILL at once. Idempotent. */
  kill(): Promise<void>;
}

/** How to start a daemon and see that it serves. */
export interface DaemonOptions {
  readonly name: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly logPath: string;
  /** Resolves true once it serves; polled every 50 ms. */
  readonly ready: () => Promise<boolean>;
  /** Default 60,000. */
  readonly timeoutMs?: number;
}

/** Starts a daemon and waits until it serves. @throws TestbedError `start_failed` with the end of its log */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const [file, ...args] = options.argv as [string, ...string[]];
  const log = openSync(options.logPath, "a");
  const child = spawn(file, args, { detached: true, stdio: ["ignore", log, log], env: { ...process.env, ...options.env } });
  closeSync(log);
  const spawned = await new Promise<Error | undefined>((resolve) => {
    child.once("spawn", () => resolve(undefined));
    child.once("error", resolve);
  });
  const identity = child.pid === undefined ? undefined : identify(child.pid);
  if (spawned || !identity) throw failure(options, spawned?.message ?? "it ended at once");
  child.unref();
  const daemon: Daemon = {
    name: options.name,
    process: identity,
    logPath: options.logPath,
    stop: (graceMs = 20_000) => end(identity, "SIGTERM", graceMs),
    kill: () => end(identity, "SIGKILL", 10_000),
  };
  const deadline = Date.now() + (options.timeoutMs ?? 60_000);
  while (!(await options.ready().catch(() => false))) {
    if (!isAlive(identity)) throw failure(options, "it ended");
    if (Date.now() > deadline) {
      await daemon.kill();
      throw failure(options, `not ready after ${(options.timeoutMs ?? 60_000) / 1000} s`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return daemon;
}

async function end(identity: ProcessIdentity, first: NodeJS.Signals, graceMs: number): Promise<void> {
  signal(identity, first);
  const left = await waitGone([identity], graceMs);
  for (const process_ of left) signal(process_, "SIGKILL");
  if ((await waitGone(left, 10_000)).length > 0) throw new TestbedError("cleanup_failed", `process ${identity.pid} does not die`);
}

function failure(options: DaemonOptions, why: string): TestbedError {
  let tail = "";
  try {
    tail = readFileSync(options.logPath, "utf8").trimEnd().split("\n").slice(-12).join("\n  ");
  } catch {
    // No log was written: the reason alone must do.
  }
  return new TestbedError("start_failed", `${options.name} did not start: ${why}\n  ${options.argv.join(" ")}\n  ${tail}`);
}
