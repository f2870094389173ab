/** The record of past days gone through once, under one policy: what would have been done, and whom it would have told. Nothing changes by it. */
import { type Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import type { ActionRow, DriftRow } from "../../ports/rows.ts";
import type { Policy } from "../policy/types.ts";
import type { Held } from "../response/decide.ts";
import type { LogRecord } from "./log-record.ts";
import { SimulatedAlerts } from "./simulated-alerts.ts";
import { type ResponseFacts, type SimulatedAction, SimulatedResponse } from "./simulated-response.ts";

/** A drift as one policy has it. */
export interface ReplayedDrift {
  readonly row: DriftRow;
  readonly severity: Severity;
  readonly openedMs: number;
  readonly acknowledgedMs: number | undefined;
  readonly resolvedMs: number | undefined;
}

export interface ReplayInput {
  readonly policy: Policy;
  readonly drifts: readonly ReplayedDrift[];
  readonly log: LogRecord;
  readonly facts: ResponseFacts;
  /** Of the day before. */
  readonly earlier: readonly ActionRow[];
  /** Whether acting was paused when the time began. */
  readonly paused: boolean;
  readonly sinceMs: number;
  readonly untilMs: number;
}

export interface Replayed {
  readonly actions: readonly SimulatedAction[];
  readonly pages: readonly { readonly atMs: number; readonly route: string }[];
  readonly heldBack: ReadonlyMap<Held, ReadonlySet<string>>;
  /** Drifts of containers that would have been gone. */
  readonly afterwards: number;
}

interface Happening {
  readonly atMs: number;
  /** Of the drift that it is about. */
  readonly number?: number;
  readonly run: (response: SimulatedResponse, alerts: SimulatedAlerts) => void;
}

/** What comes within this time one transaction would have brought. */
const TOGETHER_MS = 10;
/** Steps between two turns of others: one takes some milliseconds at most. */
const STEPS_A_TURN = 10;

/** @param onProgress happenings that were gone through, of how many; also lets others have their turn @throws the signal's reason */
export async function replay(input: ReplayInput, onProgress: (done: number, total: number) => Promise<void>, signal: AbortSignal): Promise<Replayed> {
  const { sinceMs, untilMs, drifts } = input;
  const response = new SimulatedResponse(input.policy, input.facts, input.earlier);
  const alerts = new SimulatedAlerts(input.policy.alerts);
  response.setPaused(input.paused, sinceMs);
  alerts.begin(
    drifts.filter(({ openedMs }) => openedMs < sinceMs).map((each) => rowAt(each, sinceMs)),
    sinceMs,
  );
  const happenings = happeningsOf(input);
  let at = 0;
  let nowMs = sinceMs;
  for (let steps = 1; ; steps++) {
    const nextMs = earliest(happenings[at]?.atMs, response.nextWakeMs, alerts.nextDueMs);
    if (nextMs === undefined || nextMs >= untilMs) break;
    nowMs = Math.max(nowMs, nextMs);
    const told = new Set<number>();
    for (const endMs = nowMs + TOGETHER_MS; ; at++) {
      const each = happenings[at];
      // Two states of one drift were two transactions, however close.
      if (!each || each.atMs >= Math.min(endMs, untilMs) || (each.number !== undefined && told.has(each.number))) break;
      if (each.number !== undefined) told.add(each.number);
      nowMs = Math.max(nowMs, each.atMs);
      each.run(response, alerts);
    }
    if ((response.nextWakeMs ?? untilMs) <= nowMs) response.lookAgain(nowMs);
    alerts.plan(nowMs);
    if (steps % STEPS_A_TURN === 0) {
      signal.throwIfAborted();
      await onProgress(at, happenings.length);
    }
  }
  return { actions: response.actions, pages: alerts.sent, heldBack: response.heldBack, afterwards: response.afterwards };
}

function earliest(...times: readonly (number | undefined)[]): number | undefined {
  return times.reduce((a, b) => (a === undefined ? b : b === undefined ? a : Math.min(a, b)), undefined);
}

function rowAt({ row, severity, acknowledgedMs, resolvedMs }: ReplayedDrift, atMs: number): DriftRow {
  const state =
    resolvedMs !== undefined && resolvedMs <= atMs
      ? DriftState.RESOLVED
      : acknowledgedMs !== undefined && acknowledgedMs <= atMs
        ? DriftState.ACKNOWLEDGED
        : DriftState.OPEN;
  return { ...row, severity, state };
}

/** In order; of one moment as they were written. What was there before is there at the beginning. */
function happeningsOf({ drifts, log, sinceMs, untilMs }: ReplayInput): Happening[] {
  const happenings: Happening[] = [];
  const add = (atMs: number | undefined, run: Happening["run"], number?: number): void => {
    if (atMs !== undefined && atMs < untilMs) happenings.push({ atMs: Math.max(atMs, sinceMs), run, ...(number !== undefined && { number }) });
  };
  for (const drift of drifts) {
    const { openedMs, acknowledgedMs, resolvedMs } = drift;
    const stand =
      (atMs: number): Happening["run"] =>
      (response, alerts) => {
        const row = rowAt(drift, atMs);
        if (row.state === DriftState.RESOLVED) response.remove(row, atMs);
        else response.put(row, atMs);
        if (atMs > sinceMs || openedMs >= sinceMs) alerts.put(row);
      };
    for (const atMs of new Set([openedMs, acknowledgedMs, resolvedMs])) if (atMs !== undefined) add(atMs, stand(Math.max(atMs, sinceMs)), drift.row.number);
  }
  for (const [nodeId, changes] of log.nodes) for (const { atMs } of changes) add(atMs, (response) => response.lookAgain(atMs, nodeId));
  for (const { atMs, paused } of log.pauses) add(atMs, (response) => response.setPaused(paused, atMs));
  return happenings.sort((a, b) => a.atMs - b.atMs);
}

/** How a node stood at a time, by what the log tells of its changes; before the first, and without any, by what is known now. */
export function nodeVerdicts(log: LogRecord, now: (nodeId: string) => Verdict | undefined): ResponseFacts["nodeVerdict"] {
  return (nodeId, atMs) => {
    const changes = log.nodes.get(nodeId) ?? [];
    const last = changes.findLast((each) => each.atMs <= atMs);
    return last?.verdict ?? changes[0]?.before ?? now(nodeId) ?? Verdict.UNKNOWN;
  };
}
