/** The programs that the services run: the bundle that lies beside this command, copied into the state directory. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { HostError } from "./error.ts";
import type { Layout } from "./layout.ts";

const FILES = [
  ...["agent.js", "verifier.js", "actuator.js", "hullmark.js", "sqlite-thread.js", "replay-thread.js", "pkcs11-thread.js"],
  ...["hullmark.node", "better_sqlite3.node", "pkcs11.node"],
  ...["dashboard.html", "dashboard.js", "dashboard.css"],
] as const;
/** What the command loads as it needs it. */
const PART = /^hullmark-[\w-]+\.mjs$/;
const COMMAND_TIMEOUT_MS = 60_000;

/** Where the bundle is: beside the bundled command, or in dist/ of a checkout. @throws HostError NO_BUNDLE */
export function findBundle(): string {
  const candidates = [import.meta.dirname, join(import.meta.dirname, "../../dist")];
  const bundle = candidates.find((directory) => FILES.every((file) => existsSync(join(directory, file))));
  if (!bundle) throw new HostError("NO_BUNDLE", `agent and verifier do not lie beside this command (${candidates[0]}); in a checkout: npm run build`);
  return bundle;
}

function filesOf(bundle: string): readonly string[] {
  return [...FILES, ...readdirSync(bundle).filter((name) => PART.test(name))].sort();
}

/** SHA-256 over the bundle's files and Node's path and version: another one means that services are to be started anew. */
export function bundleDigest(bundle: string): string {
  const hash = createHash("sha256").update(`${process.execPath}\0${process.version}\0`);
  for (const file of filesOf(bundle)) hash.update(readFileSync(join(bundle, file)));
  return hash.digest("hex");
}

/** Replaces the copy as a whole; nothing may run from it. */
export function installProgram(bundle: string, { program }: Layout): void {
  const fresh = `${program}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true, mode: 0o755 });
  for (const file of filesOf(bundle)) copyFileSync(join(bundle, file), join(fresh, file));
  rmSync(program, { recursive: true, force: true });
  renameSync(fresh, program);
}

export interface CommandOutcome {
  readonly ok: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. Never rejects: what went wrong is in `stderr`. */
export function runCommand(file: string, args: readonly string[]): Promise<CommandOutcome> {
  return new Promise((resolve) => {
    execFile(file, args, { timeout: COMMAND_TIMEOUT_MS, maxBuffer: 16 << 20 }, (error, stdout, stderr) =>
      resolve({ ok: error === null, stdout, stderr: stderr.trim() || (error?.message ?? "") }),
    );
  });
}
