import { existsSync } from "node:fs";
import { basename } from "node:path";
import { removeBridge } from "./bridge.ts";
import { removeCgroups } from "./cgroup.ts";
import { TestbedError } from "./error.ts";
import { removeLink } from "./kubernetes/network.ts";
import { removeMountPoints } from "./mount-points.ts";
import { findByEnvironment, signal, waitGone } from "./process-identity.ts";
import { run } from "./run.ts";
import { isOwned, listTestbeds, readState, type TestbedState } from "./state.ts";

/** Environment entry that every process of the test bed carries. */
export function markerOf(id: string): string {
  return `HULLMARK_TESTBED=${id}`;
}

/**
 * Removes a test bed: every process, cgroup, bridge, mount (they go with the namespace) and its folder. Idempotent.
 * @throws TestbedError `cleanup_failed` when a process survives SIGKILL
 */
export async function sweep(directory: string): Promise<void> {
  const state = readState(directory);
  if (state) await release(state);
  // By rm, not fs.rm: images hold names that are no UTF-8, which JavaScript strings cannot name.
  if (existsSync(directory)) await run(["/bin/rm", "-rf", "--one-file-system", "--", directory]);
}

async function release(state: TestbedState): Promise<void> {
  const marker = markerOf(state.id);
  // A daemon may start a child between scan and signal, so scan until nothing is found.
  for (let round = 0; ; round++) {
    const found = findByEnvironment(marker);
    if (found.length === 0) break;
    if (round === 10) throw new TestbedError("cleanup_failed", `processes survive: ${found.map((entry) => entry.pid).join(" ")}`);
    for (const process_ of found) signal(process_, "SIGKILL");
    await waitGone(found, 2_000);
  }
  await removeCgroups(state.id);
  for (const bridge of state.bridges) await removeBridge(bridge);
  // A state file of an earlier version has none.
  for (const link of state.links ?? []) await removeLink(link);
  await removeMountPoints();
}

/** Removes what test beds of dead owners left behind; those in use and those kept on purpose stay. @returns the names removed */
export async function sweepDead(): Promise<string[]> {
  const removed: string[] = [];
  for (const directory of listTestbeds()) {
    const state = readState(directory);
    if (!state || isOwned(state)) continue;
    await sweep(directory);
    removed.push(basename(directory));
  }
  return removed;
}
