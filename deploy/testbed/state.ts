import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { STATE_ROOT } from "./paths.ts";
import { bootId, isAlive, type ProcessIdentity } from "./process-identity.ts";

/** What a test bed has made outside its folder, written before it is made, so that a later run can remove what a killed one left. */
export interface TestbedState {
  readonly version: 1;
  readonly name: string;
  /** Random; every process of the test bed carries it as HULLMARK_TESTBED, and its containers' cgroup is named after it. */
  readonly id: string;
  readonly bootId: string;
  /** The process that answers for this test bed; with `keep` it may be gone. */
  readonly owner: ProcessIdentity;
  keep: boolean;
  /** Network bridges made, at most 15 bytes each. */
  bridges: string[];
  /** Links to network namespaces made, likewise. */
  links: string[];
  /** What was started, for status and reuse: opaque to the sweep. */
  parts: Record<string, unknown>;
}

const FILE = "testbed.json";

/** Reads a test bed's state; undefined when there is none or it is unreadable. */
export function readState(directory: string): TestbedState | undefined {
  try {
    const state = JSON.parse(readFileSync(join(directory, FILE), "utf8")) as TestbedState;
    return state.version === 1 ? state : undefined;
  } catch {
    return undefined;
  }
}

/** Writes the state so that a reader sees the old or the new one. */
export function writeState(directory: string, state: TestbedState): void {
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const temporary = join(directory, `${FILE}.${process.pid}`);
  writeFileSync(temporary, `${JSON.stringify(state, null, 2)}\n`);
  renameSync(temporary, join(directory, FILE));
}

/** Whether someone still answers for the test bed: its owner lives, or it was kept and the machine has not rebooted since. */
export function isOwned(state: TestbedState): boolean {
  return state.bootId === bootId() && (state.keep || isAlive(state.owner));
}

/** Folders of all test beds below the state root. */
export function listTestbeds(): string[] {
  const run = join(STATE_ROOT, "run");
  try {
    return readdirSync(run).map((name) => join(run, name));
  } catch {
    return [];
  }
}
