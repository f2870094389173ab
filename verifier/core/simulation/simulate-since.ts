/**
 * Past days under another policy: what was found, done and told, and what would have been, by what the verifier durably keeps (drift, log, actions) and, of what runs still,
 * by appraising it again. What cannot be known of it is a figure of its own. Nothing changes by it, and no node is asked.
 */
import type { Severity, Verdict } from "@hullmark/proto/v1/common";
import type { LogReader } from "../../ports/log-store.ts";
import type { ActionRow, DriftRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { keyOfNumber, rowPages } from "../fleet/row-pages.ts";
import type { Policy } from "../policy/types.ts";
import { countedContainers } from "../response/breaker.ts";
import { causeOf } from "../response/causes.ts";
import { HISTORY_MS } from "../response/decide.ts";
import type { Rollback } from "../response/rollback.ts";
import type { Simulation } from "../session/index.ts";
import { type Day, daysOf, type Sum, sumOf } from "./days.ts";
import { type DriftRecord, type PastDrift, readDriftRecord } from "./drift-record.ts";
import { type LogRecord, readLogRecord } from "./log-record.ts";
import { Rejudge, type Rejudged } from "./rejudge.ts";
import { nodeVerdicts, type Replayed, type ReplayedDrift, replay } from "./replay.ts";

export type RollbackLookup = (nodeId: string, containerId: string) => Promise<Rollback | undefined>;

export interface HistoryServices {
  readonly store: Pick<Store, "listDrifts" | "listActions" | "readCoverage" | "countResults">;
  readonly log: () => { readonly reader: LogReader; readonly size: number };
  readonly inForce: () => Policy;
  /** Of what runs now, every finding that differs. */
  readonly simulate: (policy: Policy, signal: AbortSignal) => Promise<Simulation>;
  /** What could be gone back to, under a policy. */
  readonly rollbacks: (policy: Policy, signal: AbortSignal) => Promise<RollbackLookup>;
  readonly nodeVerdict: (nodeId: string) => Verdict | undefined;
  /** Whether acting is paused now. */
  readonly paused: () => boolean;
  readonly nowMs: () => number;
  /** Lets others have their turn. */
  readonly pause: () => Promise<void>;
}

/** What is being gone through, and how far. `total` 0: not known. */
export interface Progress {
  readonly stage: "log" | "containers" | "drift" | "replay";
  readonly done: number;
  readonly total: number;
}

/** A drift of which the policies do not say the same. */
export interface ChangedDrift {
  readonly row: DriftRow;
  readonly openedMs: number;
  readonly before: Severity | "none";
  readonly after: Rejudged;
}

/** What cannot be known of the time, and what was left out. */
export interface Unknowns {
  /** Where what is kept begins, if that is later than what was asked for. */
  readonly keptSinceMs: number | undefined;
  /** That were judged then and are not at hand now: what policy excused in them has left no record. */
  readonly containersGone: number;
  /** Of which the record does not hold what the policy would go by. */
  readonly drifts: number;
  /** Older ones, beyond the limit. */
  readonly driftsOmitted: number;
  /** Of the nodes themselves: whether they would have been marked is not gone through. */
  readonly nodeDrifts: number;
  /** That ran then, and nothing that runs now has. */
  readonly images: number;
  /** Of which is not known whether an earlier image could have been gone back to. */
  readonly rollbacks: number;
  /** Seen in containers that would have been gone by then. */
  readonly driftsAfterwards: number;
  /** Nodes whose agents would have measured other paths. */
  readonly nodesRemeasured: number;
  readonly unattestedSeconds: number;
  readonly observedSeconds: number;
  /** More containers or changes of nodes than are kept in memory. */
  readonly truncated: boolean;
}

export interface SimulatedHistory {
  readonly sinceMs: number;
  readonly untilMs: number;
  /** First what was open when the time began. */
  readonly days: readonly Day[];
  readonly sum: Sum;
  /** Gravest first, as they would have been. */
  readonly changed: readonly ChangedDrift[];
  readonly before: Replayed;
  readonly after: Replayed;
  /** How often another policy took effect within the time. */
  readonly policies: number;
  readonly unknown: Unknowns;
}

/** @param policy as it would have been in force @throws the signal's reason; StoreError; LogStoreError */
export async function simulateSince(
  policy: Policy,
  sinceMs: number,
  services: HistoryServices,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<SimulatedHistory> {
  const { store, inForce, nowMs, pause } = services;
  const untilMs = nowMs();
  const present = inForce();
  const progress =
    (stage: Progress["stage"]) =>
    async (done: number, total = 0): Promise<void> => {
      onProgress({ stage, done, total });
      await pause();
    };
  const log = await readLogRecord(services.log(), sinceMs, progress("log"), signal);
  await progress("containers")(0);
  const now = await services.simulate(policy, signal);
  const record = await readDriftRecord(store, { sinceMs, untilMs }, new Rejudge(policy, present), now, progress("drift"), signal);
  const actions = await readActions(store, sinceMs - HISTORY_MS);
  const common = { log, earlier: actions.filter(({ createdAtMs }) => createdAtMs < sinceMs), paused: wasPaused(log, services.paused()), sinceMs, untilMs };
  const run = async (under: Policy, drifts: readonly ReplayedDrift[]): Promise<Replayed> => {
    const facts = await factsUnder(under, drifts, log, services, signal);
    return await replay({ ...common, policy: under, drifts, facts }, progress("replay"), signal);
  };
  const before = await run(
    present,
    replayed(record.drifts, ({ before }) => before),
  );
  const after = await run(
    policy,
    replayed(record.drifts, ({ after }) => after),
  );
  const days = daysOf({ sinceMs, untilMs, drifts: record.drifts, actions, log, now, before, after, policies: { before: present, after: policy } });
  return {
    ...{ sinceMs, untilMs, days, sum: sumOf(days), changed: changedOf(record.drifts), before, after, policies: log.policies },
    unknown: await unknowns({ sinceMs, log, record, now, after, days }, store),
  };
}

async function readActions(store: HistoryServices["store"], sinceMs: number): Promise<readonly ActionRow[]> {
  const found: ActionRow[] = [];
  for await (const rows of rowPages((page) => store.listActions({ states: [], sinceMs }, page), keyOfNumber))
    found.push(...rows.map((row) => ({ ...row, intent: undefined })));
  return found.reverse();
}

/** The first change within the time tells how it was before. */
function wasPaused({ pauses: [first] }: LogRecord, now: boolean): boolean {
  return first ? !first.paused : now;
}

function replayed(drifts: readonly PastDrift[], severityOf: (drift: PastDrift) => Rejudged): ReplayedDrift[] {
  return drifts.flatMap((drift) => {
    const severity = severityOf(drift);
    // Of what is not known the record stands.
    const counted = severity === "unknown" ? drift.before : severity;
    return counted === "none" ? [] : [{ ...drift, severity: counted }];
  });
}

async function factsUnder(policy: Policy, drifts: readonly ReplayedDrift[], log: LogRecord, services: HistoryServices, signal: AbortSignal) {
  const lookUp = await services.rollbacks(policy, signal);
  const found = new Map<string, Rollback | undefined>();
  for (const { row } of drifts) {
    const key = `${row.nodeId}/${row.containerId}`;
    if (causeOf(row) === "untrusted" && !found.has(key)) found.set(key, await lookUp(row.nodeId, row.containerId));
  }
  return {
    nodeVerdict: nodeVerdicts(log, services.nodeVerdict),
    rollback: (nodeId: string, containerId: string) => found.get(`${nodeId}/${containerId}`),
    containers: countedContainers(await services.store.countResults()),
  };
}

function changedOf(drifts: readonly PastDrift[]): ChangedDrift[] {
  const gravity = (said: Rejudged): number => (typeof said === "number" ? said : 0);
  return drifts
    .filter(({ before, after }) => after !== "unknown" && before !== after)
    .sort((a, b) => gravity(b.after) - gravity(a.after) || gravity(b.before) - gravity(a.before) || a.openedMs - b.openedMs);
}

async function unknowns(
  of: {
    readonly sinceMs: number;
    readonly log: LogRecord;
    readonly record: DriftRecord;
    readonly now: Simulation;
    readonly after: Replayed;
    readonly days: readonly Day[];
  },
  store: HistoryServices["store"],
): Promise<Unknowns> {
  const { sinceMs, log, record, now, after, days } = of;
  const { observedSeconds, unattestedSeconds } = await store.readCoverage(sinceMs);
  return {
    keptSinceMs: (log.beginsMs ?? sinceMs) > sinceMs ? log.beginsMs : undefined,
    containersGone: [...log.containers].filter((each) => !now.judged.has(each)).length,
    drifts: record.drifts.filter((each) => each.after === "unknown").length,
    driftsOmitted: record.omitted,
    nodeDrifts: record.drifts.filter(({ row }) => row.containerId === "").length,
    images: days.reduce((sum, { imagesUnknown }) => sum + imagesUnknown, 0),
    rollbacks: after.heldBack.get("looking-up")?.size ?? 0,
    driftsAfterwards: after.afterwards,
    nodesRemeasured: now.remeasured,
    ...{ observedSeconds, unattestedSeconds, truncated: log.truncated },
  };
}
