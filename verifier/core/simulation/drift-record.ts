/** Drift of past days, read from the store newest first, each as it stands on record and as another policy would have it. Bounded. */
import type { Severity } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import type { DriftRow } from "../../ports/rows.ts";
import type { Page, Store } from "../../ports/store.ts";
import type { Finding } from "../appraisal/types.ts";
import { isReopened } from "../fleet/drift-rows.ts";
import { keyOfNumber, rowPages } from "../fleet/row-pages.ts";
import { NOTICE_KINDS } from "../policy/kinds.ts";
import type { ChangedContainer, Simulation } from "../session/index.ts";
import type { Rejudge, Rejudged } from "./rejudge.ts";

/** The newest that are looked at: some 60 MB. */
export const MAX_DRIFTS = 50_000;

/** A drift over time. Times are Unix milliseconds. */
export interface PastDrift {
  /** Without what only a person reads. */
  readonly row: DriftRow;
  readonly openedMs: number;
  readonly acknowledgedMs: number | undefined;
  readonly resolvedMs: number | undefined;
  /** As it is on record; `none`: it is not, and would have been found. */
  readonly before: Severity | "none";
  readonly after: Rejudged;
}

export interface DriftRecord {
  /** Oldest first. */
  readonly drifts: readonly PastDrift[];
  /** Older ones than the newest {@link MAX_DRIFTS}, and of what only the policy finds those of the less grave containers beyond as many. */
  readonly omitted: number;
}

interface Present {
  readonly judged: ReadonlySet<string>;
  /** Container → key → what is otherwise. */
  readonly changed: ReadonlyMap<string, ReadonlyMap<string, Finding | undefined>>;
}

const EVERY_STATE = [DriftState.OPEN, DriftState.ACKNOWLEDGED, DriftState.RESOLVED];
/** Shown and explained under any policy; while it lasts its state says so too. */
const NOTICES: ReadonlySet<string> = new Set(NOTICE_KINDS);

/** @param now what the policies say of what runs @param onProgress rows read @throws the signal's reason; StoreError */
export async function readDriftRecord(
  store: Pick<Store, "listDrifts">,
  window: { readonly sinceMs: number; readonly untilMs: number },
  rejudge: Rejudge,
  now: Simulation,
  onProgress: (done: number) => Promise<void>,
  signal: AbortSignal,
): Promise<DriftRecord> {
  const present: Present = { judged: now.judged, changed: new Map(now.changed.map((each) => [keyOf(each.node.id, each.after.row.containerId), keysOf(each)])) };
  const drifts: PastDrift[] = [];
  let omitted = 0;
  const filter = { states: EVERY_STATE, nodeId: "", container: "", notResolvedBeforeMs: window.sinceMs };
  const read = (page: Page) => {
    signal.throwIfAborted();
    return store.listDrifts(filter, page);
  };
  for await (const rows of rowPages(read, keyOfNumber)) {
    for (const row of rows) {
      if (row.committedAtMs >= window.untilMs || NOTICES.has(row.kind) || row.exception !== undefined) continue;
      if (drifts.length < MAX_DRIFTS) drifts.push(pastDrift(row, rejudge, present));
      else omitted++;
    }
    await onProgress(drifts.length);
  }
  drifts.reverse();
  const fresh = newlyFound(now, window.untilMs);
  return { drifts: [...drifts, ...fresh.drifts].sort((a, b) => a.openedMs - b.openedMs), omitted: omitted + fresh.omitted };
}

function keyOf(nodeId: string, containerId: string): string {
  return `${nodeId}/${containerId}`;
}

function keysOf({ findings }: ChangedContainer): ReadonlyMap<string, Finding | undefined> {
  return new Map(findings.flatMap(({ before, after }) => (before ? [[before.key, after] as const] : [])));
}

function pastDrift(row: DriftRow, rejudge: Rejudge, { judged, changed }: Present): PastDrift {
  const container = keyOf(row.nodeId, row.containerId);
  const live = row.state !== DriftState.RESOLVED && judged.has(container);
  const own = changed.get(container);
  const found = own?.get(row.key);
  // What runs still was appraised again in full; of the rest the record must do.
  const after = !live ? rejudge.of(row) : own?.has(row.key) ? (found && !found.notice ? found.severity : "none") : row.severity;
  const acknowledged = row.acknowledgedBy !== "" && !isReopened(row);
  return {
    row: slim(row),
    openedMs: row.committedAtMs,
    acknowledgedMs: acknowledged ? row.acknowledgedAtMs : undefined,
    resolvedMs: row.state === DriftState.RESOLVED ? row.resolvedAtMs : undefined,
    ...{ before: row.severity, after },
  };
}

function slim(row: DriftRow): DriftRow {
  return { ...row, fingerprint: "", differences: [], history: "", mappedBy: [], actor: undefined, provenance: undefined };
}

/** What is there now, and only the other policy calls drift: since when, as far as that is known. */
function newlyFound({ changed }: Simulation, nowMs: number): DriftRecord {
  let number = Number.MAX_SAFE_INTEGER;
  let omitted = 0;
  const drifts: PastDrift[] = [];
  for (const { node, after: said, findings } of changed)
    for (const { before, after } of findings) {
      if (!after || after.notice || before) continue;
      if (drifts.length >= MAX_DRIFTS) {
        omitted++;
        continue;
      }
      const openedMs = Math.min(nowMs, after.changedAtMs ?? said.row.startedAtMs ?? nowMs);
      const row = rowOf(number--, node, said.row, after, openedMs);
      drifts.push({ row, openedMs, acknowledgedMs: undefined, resolvedMs: undefined, before: "none", after: after.severity });
    }
  return { drifts, omitted };
}

function rowOf(number: number, node: ChangedContainer["node"], workload: ChangedContainer["after"]["row"], finding: Finding, openedMs: number): DriftRow {
  const { containerId, containerName, service, imageReference, configDigest } = workload;
  const { key, kind, place, severity, path, summary, layerIndex, executable, changedAtMs } = finding;
  return {
    ...{
      id: `new ${number}`,
      number,
      nodeId: node.id,
      nodeName: node.name,
      containerId,
      containerName,
      workload: workload.workload,
      service,
      imageReference,
      configDigest,
    },
    ...{ key, fingerprint: "", kind, place, severity, state: DriftState.OPEN, path, summary, differences: [] },
    ...{ layerIndex, diffId: "", history: "", actor: undefined, mappedBy: [], executable, provenance: undefined, changedAtMs },
    ...{ measuredAtMs: openedMs, committedAtMs: openedMs, alertedAtMs: undefined, resolvedAtMs: undefined },
    ...{ acknowledgedBy: "", acknowledgedReason: "", acknowledgedAtMs: undefined, logIndex: -1 },
  };
}
