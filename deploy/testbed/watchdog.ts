import { spawn } from "node:child_process";
import { join } from "node:path";

/** The process that removes a test bed when the one that started it dies, even by SIGKILL. */
export interface Watchdog {
  /** Ends it: the test bed is to outlive us. */
  dismiss(): Promise<void>;
}

const WATCH = 'read -r word; [ "$word" = dismissed ] || exec "$@" >/dev/null 2>&1';

/** It waits on a pipe that only we hold open, outside of the test bed's namespace, since it outlives that. */
export function startWatchdog(name: string, marker: string): Watchdog {
  const argv = ["-c", WATCH, "hullmark-testbed-watchdog", process.execPath, join(import.meta.dirname, "main.ts"), "down", name];
  const child = spawn("/bin/sh", argv, { detached: true, stdio: ["pipe", "ignore", "ignore"], env: { ...process.env, ...markEnvironment(marker) } });
  child.on("error", () => {});
  child.stdin.on("error", () => {});
  child.unref();
  // The pipe must not keep this process's event loop alive; it closes with the process.
  (child.stdin as unknown as { unref(): void }).unref();
  return { dismiss: () => new Promise((resolve) => child.stdin.end("dismissed\n", () => resolve())) };
}

/** A test bed's mark ("NAME=VALUE") as an environment. */
export function markEnvironment(marker: string): Record<string, string> {
  const at = marker.indexOf("=");
  return { [marker.slice(0, at)]: marker.slice(at + 1) };
}
