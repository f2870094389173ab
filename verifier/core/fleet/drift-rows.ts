/** Drift records from findings: opened, brought up to date, resolved, acknowledged. Each step is a new row. */
import { hash } from "node:crypto";
import { DriftState } from "@hullmark/proto/v1/query";
import type { DriftRow, ProvenanceRow } from "../../ports/rows.ts";
import { findingFingerprint } from "../appraisal/lifecycle.ts";
import type { ActorFacts, Difference, Finding, FindingKind, FindingPlace } from "../appraisal/types.ts";
import type { LackKind } from "../policy/kinds.ts";

/** Where a drift is: copied into its record, which outlives the container. */
export interface DriftSubject {
  readonly nodeId: string;
  readonly nodeName: string;
  /** Empty where the node itself is meant; so are the rest. */
  readonly containerId: string;
  readonly containerName: string;
  readonly workload: string;
  readonly service?: string | undefined;
  readonly imageReference: string;
  readonly configDigest: string;
  readonly provenance: ProvenanceRow | undefined;
  /** Of a layer of the image: what made it. */
  layer(index: number): { readonly diffId: string; readonly history: string };
}

/** A finding, or something that differs about the node itself. */
export interface AnyFinding extends Omit<Finding, "kind" | "place"> {
  readonly kind: FindingKind | "quote-refused" | "chain-broken" | "cloned" | LackKind;
  readonly place: FindingPlace | "node";
  readonly differences: readonly Difference[];
  readonly actor: ActorFacts | undefined;
}

type Shown = Pick<
  DriftRow,
  | "kind"
  | "place"
  | "severity"
  | "path"
  | "summary"
  | "differences"
  | "layerIndex"
  | "diffId"
  | "history"
  | "mappedBy"
  | "key"
  | "fingerprint"
  | "executable"
  | "exception"
>;

function shown(finding: AnyFinding, subject: DriftSubject): Shown {
  const { kind, place, severity, path, summary, differences, layerIndex, mappedBy, key, executable, exception } = finding;
  const { diffId, history } = layerIndex >= 0 ? subject.layer(layerIndex) : { diffId: "", history: "" };
  return {
    kind,
    place,
    severity,
    path,
    summary,
    differences,
    layerIndex,
    diffId,
    history,
    mappedBy,
    key,
    executable,
    exception,
    fingerprint: findingFingerprint(finding as Finding),
  };
}

function stateOf(finding: AnyFinding): DriftState {
  return finding.notice ? DriftState.NOTICE : DriftState.OPEN;
}

/** 9999-12-31T23:59:59.999Z: what comes later is no RFC 3339. */
const LAST_MS = 253_402_300_799_999;

/** When the kernel told of it, as the node says; undefined where that is the time of no day. The node may say anything. */
function toldAtMs({ changedAtMs }: Pick<AnyFinding, "changedAtMs">): number | undefined {
  return changedAtMs !== undefined && changedAtMs >= 0 && changedAtMs <= LAST_MS ? changedAtMs : undefined;
}

/** @param notBeforeMs see {@link DriftRow} */
export function openDrift(
  name: { id: string; number: number },
  finding: AnyFinding,
  subject: DriftSubject,
  nowMs: number,
  notBeforeMs: number | undefined,
): DriftRow {
  const { layer: _layer, ...where } = subject;
  return {
    ...name,
    ...where,
    ...shown(finding, subject),
    state: stateOf(finding),
    actor: finding.actor,
    changedAtMs: toldAtMs(finding),
    notBeforeMs,
    measuredAtMs: nowMs,
    committedAtMs: nowMs,
    alertedAtMs: undefined,
    resolvedAtMs: undefined,
    acknowledgedBy: "",
    acknowledgedReason: "",
    acknowledgedAtMs: undefined,
    logIndex: -1,
  };
}

/**
 * The same drift, seen changed. An acknowledgement holds for what the person saw: another kind, a graver severity or other differences open it again, to be told
 * again, and what was acknowledged stays on record. Who and when stay where nothing new is known.
 */
export function updateDrift(row: DriftRow, finding: AnyFinding, subject: DriftSubject, nowMs: number): DriftRow {
  const acknowledged = row.state === DriftState.ACKNOWLEDGED;
  const holds = acknowledged && !finding.notice && finding.severity <= row.severity && sight(finding) === sight(row);
  const state = holds ? row.state : stateOf(finding);
  return {
    ...row,
    ...shown(finding, subject),
    // What was open before this was kept has none.
    service: row.service ?? subject.service,
    provenance: subject.provenance,
    state,
    actor: finding.actor ?? row.actor,
    changedAtMs: toldAtMs(finding) ?? row.changedAtMs,
    measuredAtMs: nowMs,
    // What opens again is told again.
    alertedAtMs: state === DriftState.OPEN && row.state !== DriftState.OPEN ? undefined : row.alertedAtMs,
  };
}

/** What a person acknowledges. The summary of a process names its pid: the same code in another process is nothing new. */
function sight({ kind, place, summary, differences }: Pick<AnyFinding | DriftRow, "kind" | "place" | "summary" | "differences">): string {
  return JSON.stringify([kind, place === "process" ? "" : summary, differences.map(({ field, observed }) => [field, observed])]);
}

/** Stands for what a person is shown of a drift, gravity included: 16 hex digits, echoed when it is acknowledged. The workload controls most of it: 64 bits. */
export function sightOf(row: DriftRow): string {
  return hash("sha256", JSON.stringify([row.id, row.severity, sight(row)])).slice(0, 16);
}

/** Whether it was acknowledged and is open again, since it is not any more what was acknowledged. */
export function isReopened({ state, acknowledgedBy }: Pick<DriftRow, "state" | "acknowledgedBy">): boolean {
  return state === DriftState.OPEN && acknowledgedBy !== "";
}

export function resolveDrift(row: DriftRow, nowMs: number): DriftRow {
  return { ...row, state: DriftState.RESOLVED, resolvedAtMs: nowMs };
}

export function acknowledgeDrift(row: DriftRow, by: string, reason: string, nowMs: number): DriftRow {
  return { ...row, state: DriftState.ACKNOWLEDGED, acknowledgedBy: by, acknowledgedReason: reason, acknowledgedAtMs: nowMs };
}

/** Whether it counts as drift now. */
export function isOpen({ state }: Pick<DriftRow, "state">): boolean {
  return state === DriftState.OPEN || state === DriftState.ACKNOWLEDGED;
}
