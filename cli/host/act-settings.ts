/** What the operator says of a host's actuator beside what `up` sets itself: its limits, what it captures, purges and marks. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { HostError } from "./error.ts";
import { runCommand } from "./program.ts";

/** Of deploy/config/actuator.example.yaml; the others are `up`'s own. */
const KEYS: ReadonlySet<string> = new Set(["limits", "purge", "nodes", "capture", "log"]);
/** Stands for what `up` sets. */
const REST = "stateDirectory: /var/lib\ncredentialDirectory: /var/lib\nverifier: { address: 'localhost:1' }\n";

/** @throws HostError BAD_SETTINGS */
export function readActSettings(file: string): Readonly<Record<string, unknown>> {
  let settings: unknown;
  try {
    settings = parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new HostError("BAD_SETTINGS", `${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (settings === null) return {};
  if (typeof settings !== "object" || Array.isArray(settings)) throw new HostError("BAD_SETTINGS", `${file}: want ${[...KEYS].join(", ")}`);
  const others = Object.keys(settings).filter((key) => !KEYS.has(key));
  if (others.length > 0) throw new HostError("BAD_SETTINGS", `${file}: ${others.join(", ")}: hullmark up says that itself; want ${[...KEYS].join(", ")}`);
  return settings as Record<string, unknown>;
}

/** Judged by the actuator itself, before anything of the host is touched. @param bundle where the programs are @throws HostError BAD_SETTINGS with every mistake, by its line */
export async function checkActSettings(bundle: string, file: string): Promise<void> {
  readActSettings(file);
  const directory = mkdtempSync(join(tmpdir(), "hullmark-up-"));
  try {
    const whole = join(directory, "actuator.yaml");
    // As it was written, so that lines are its own.
    writeFileSync(whole, `${readFileSync(file, "utf8").trimEnd()}\n${REST}`);
    const { ok, stderr } = await runCommand(process.execPath, [join(bundle, "actuator.js"), "--config", whole, "--check-config"]);
    if (!ok) throw new HostError("BAD_SETTINGS", stderr.replaceAll(whole, file));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Whether something is kept of a container before it is acted on. */
export function captures(settings: Readonly<Record<string, unknown>>): boolean {
  const { recipients } = (settings["capture"] ?? {}) as { readonly recipients?: readonly string[] };
  return (recipients?.length ?? 0) > 0;
}
