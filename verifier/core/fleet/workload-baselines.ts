/** What a workload was seen to write over a time, and what of its approved baselines it writes still: the stuff of a proposal. */
import { compileGlob, compileNames } from "@hullmark/proto/codec";
import { DriftState } from "@hullmark/proto/v1/query";
import type { BaselineRow, DriftRow, LearnedGroup, UpperRow, WorkloadRow } from "../../ports/rows.ts";
import { MAX_PAGE_ROWS, type Store } from "../../ports/store.ts";
import { type Learned, learn } from "../learning/learn.ts";
import { AdministrationError } from "./administration.ts";
import { keyOfNumber, rowPages } from "./row-pages.ts";

/** Drifts that are looked at, and nodes on which containers are. */
const MAX_DRIFTS = 20_000;
const MAX_NODES = 100;
/** Patterns of one proposal. */
const MAX_PATTERNS = 200;
const STATES = [DriftState.OPEN, DriftState.ACKNOWLEDGED, DriftState.RESOLVED, DriftState.NOTICE];

export type UsageStore = Pick<Store, "listWorkloads" | "readMemory">;
export type LearningStore = UsageStore & Pick<Store, "listDrifts">;

/** How much of a workload's baseline is used by what runs. */
export interface LearnedUse {
  /** Files that differ from the image and that it lets be. */
  readonly paths: number;
  readonly lastChangedMs: number | undefined;
  /** Patterns that cover one of them. */
  readonly patterns: ReadonlySet<string>;
}

/**
 * @param believed whether a node's word counts now: what a node tells that contradicts itself teaches nothing
 * @throws AdministrationError NOT_FOUND: nothing was seen. TOO_MANY; StoreError
 */
export async function learnFrom(store: LearningStore, workload: string, sinceMs: number, believed: (nodeId: string) => boolean): Promise<Learned> {
  const drifts: DriftRow[] = [];
  const filter = { states: STATES, nodeId: "", container: "", notResolvedBeforeMs: sinceMs, workload };
  for await (const rows of rowPages((page) => store.listDrifts(filter, page), keyOfNumber)) {
    drifts.push(...rows);
    // Whoever writes enough would leave out what was seen of the same files before: that they ran, or could.
    if (rows.length === MAX_PAGE_ROWS && drifts.length >= MAX_DRIFTS)
      throw new AdministrationError("TOO_MANY", `${MAX_DRIFTS} drifts of that workload or more in this time: take a shorter one`);
  }
  const learned = learn(drifts.filter(({ nodeId }) => believed(nodeId)));
  const patterns = learned.groups.reduce((sum, { paths }) => sum + paths.length, 0);
  if (patterns > MAX_PATTERNS)
    throw new AdministrationError(
      "TOO_MANY",
      `${patterns} patterns, limit ${MAX_PATTERNS}: what it writes is too many-sided to be learned; put it on a volume, or let policy say (mutable)`,
    );
  return learned;
}

/** Together with what of the approved ones is in use: what these let be is no drift, and would be missing. */
export function together(learned: readonly LearnedGroup[], approved: readonly BaselineRow[], use: ReadonlyMap<string, LearnedUse>): LearnedGroup[] {
  const groups = new Map<string, LearnedGroup>();
  const kept = approved.flatMap(({ id, learned: own = [] }) =>
    own.map((group) => ({ ...group, paths: group.paths.filter(({ pattern }) => use.get(id)?.patterns.has(pattern)) })),
  );
  for (const { select, paths } of [...kept, ...learned]) {
    const key = JSON.stringify([select.workloads, select.containers]);
    const before = groups.get(key)?.paths ?? [];
    const more = paths.filter(({ pattern }) => !before.some((each) => each.pattern === pattern));
    if (before.length + more.length > 0) groups.set(key, { select, paths: [...before, ...more] });
  }
  return [...groups.values()];
}

/** @returns by the baselines' ids; what runs on more than {@link MAX_NODES} nodes is looked at on these. @throws StoreError */
export async function usesOf(store: UsageStore, baselines: readonly BaselineRow[]): Promise<Map<string, LearnedUse>> {
  const compiled = baselines.map(({ id, workload, learned = [] }) => ({
    ...{ id, workload, paths: 0, lastChangedMs: undefined as number | undefined, patterns: new Set<string>() },
    groups: learned.map(({ select, paths }) => ({
      containers: compileNames(select.containers.length > 0 ? select.containers : ["**"]),
      globs: paths.map(({ pattern }) => ({ pattern, matches: compileGlob(pattern) })),
    })),
  }));
  const nodes = new Map<string, WorkloadRow[]>();
  for await (const row of workloads(store)) {
    if (!compiled.some(({ workload }) => workload === (row.workload || row.containerName))) continue;
    if (!nodes.has(row.nodeId) && nodes.size >= MAX_NODES) continue;
    nodes.set(row.nodeId, [...(nodes.get(row.nodeId) ?? []), row]);
  }
  for (const [nodeId, rows] of nodes) {
    const memory = await store.readMemory(nodeId);
    for (const row of rows) {
      const upper = memory?.containers.find(({ id }) => id === row.containerId)?.upper ?? [];
      for (const baseline of compiled.filter(({ workload }) => workload === (row.workload || row.containerName)))
        for (const { containers, globs } of baseline.groups) if (containers(row.containerName)) count(baseline, globs, upper);
    }
  }
  return new Map(compiled.map(({ id, paths, lastChangedMs, patterns }) => [id, { paths, lastChangedMs, patterns }]));
}

interface Counting {
  paths: number;
  lastChangedMs: number | undefined;
  readonly patterns: Set<string>;
}

function count(into: Counting, globs: readonly { pattern: string; matches: (path: Uint8Array) => boolean }[], upper: readonly UpperRow[]): void {
  for (const { path, record, changedAtMs } of upper) {
    if (record.length === 0) continue;
    const whole = Buffer.concat([Buffer.from("/"), path]);
    const covering = globs.filter(({ matches }) => matches(whole));
    if (covering.length === 0) continue;
    into.paths++;
    for (const { pattern } of covering) into.patterns.add(pattern);
    if (changedAtMs !== undefined) into.lastChangedMs = Math.max(into.lastChangedMs ?? 0, changedAtMs);
  }
}

async function* workloads(store: UsageStore): AsyncGenerator<WorkloadRow> {
  for (let after = ""; ; ) {
    const page = await store.listWorkloads({ verdicts: [], nodeId: "" }, { after, limit: MAX_PAGE_ROWS });
    yield* page;
    const last = page.at(-1);
    if (!last || page.length < MAX_PAGE_ROWS) return;
    after = `${last.nodeId}/${last.containerId}`;
  }
}
