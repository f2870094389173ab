/** `hullmark down`: ends what `up` started and removes what it made, and nothing else. */
import { rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { removeEmptyDirectories, unlinkCommandConfig } from "./command-config.ts";
import { HostError } from "./error.ts";
import { layoutOf, SERVICES, STATE_ENTRIES } from "./layout.ts";
import { readRecord, writeRecord } from "./record.ts";
import { keeper } from "./up.ts";

export interface DownOptions {
  readonly state: string;
  /** Services, units and the command's configuration go; keys, log, references and certificates stay. */
  readonly keepState: boolean;
  readonly print: (line: string) => void;
}

/** @throws HostError NOT_ROOT, NOT_INSTALLED, BAD_RECORD, STOP_FAILED */
export async function down({ state, keepState, print }: DownOptions): Promise<void> {
  if (process.getuid?.() !== 0) throw new HostError("NOT_ROOT", "this needs root");
  const layout = layoutOf(resolve(state));
  const record = readRecord(layout);
  if (!record) throw new HostError("NOT_INSTALLED", `"hullmark up" has made nothing in ${layout.state} (--state names another directory)`);
  const services = keeper(layout, record.systemd);
  const all = record.act ? "verifier, agent and actuator" : "verifier and agent";
  for (const name of [...SERVICES].reverse()) {
    await services.stop(name);
    await services.remove(name);
  }
  if (record.commandConfig !== null) {
    unlinkCommandConfig(record.commandConfig, layout);
    removeCreated(record.createdDirectories, dirname(record.commandConfig));
  }
  if (keepState) {
    writeRecord(layout, { ...record, started: "", commandConfig: null });
    print(`✓ ${all} are stopped; ${layout.state} is kept`);
    return;
  }
  // Only what is ours: someone may have put a file beside it. The record goes last, so that a removal that was cut short can be repeated.
  for (const entry of [...STATE_ENTRIES].reverse())
    for (const name of [`${entry}.new`, entry]) rmSync(join(layout.state, name), { recursive: true, force: true });
  removeCreated(record.createdDirectories, layout.state);
  print(`✓ ${all} are stopped, and everything of them is removed`);
}

function removeCreated(created: readonly string[], innermost: string): void {
  const topmost = created.find((directory) => innermost === directory || innermost.startsWith(`${directory}/`));
  if (topmost !== undefined) removeEmptyDirectories(innermost, topmost);
}
