/** What enters the transparency log, in one place: docs/log.md names the members. */

import { ActorEntry, Severity, TrustLevel, Verdict } from "@hullmark/proto/v1/common";
import { DriftState, ProvenanceStatus } from "@hullmark/proto/v1/query";
import type { DriftRow, NodeRow, WorkloadRow } from "../../ports/rows.ts";
import type { ActorFacts } from "../appraisal/types.ts";
import { incidentId } from "../incident/incident.ts";
import { printable } from "../text/printable.ts";
import type { LogEntry, LogEntryType, LogValue } from "../transparency/entry.ts";
import { isReopened } from "./drift-rows.ts";

/** Names of the wire's enums, as the log, JSON output and documentation spell them. */
export function wireName(names: Readonly<Record<number, string>>, value: number): string {
  return (names[value] ?? "unspecified").toLowerCase().replaceAll("_", "-");
}

const TEXT_CHARS = 512;
/** Bounded and printable. */
export const text = (value: string): string => printable(Buffer.from(value)).slice(0, TEXT_CHARS).toWellFormed();
/** A path as an entry has it; its length in bytes stands beside. */
export const pathText = (path: Uint8Array): string => printable(path).slice(0, 4096).toWellFormed();

export function entry(type: LogEntryType, timeMs: number, fields: Readonly<Record<string, LogValue>>): LogEntry {
  return { type, timeMs: Math.floor(timeMs), fields };
}

export function workloadVerdict(row: WorkloadRow, before: WorkloadRow | undefined, timeMs: number): LogEntry {
  return entry("verdict", timeMs, {
    subject: "container",
    node: row.nodeId,
    container: text(row.containerId),
    name: text(row.containerName),
    image: text(row.imageReference),
    config: text(row.configDigest),
    verdict: wireName(Verdict, row.verdict),
    content: wireName(Verdict, row.content),
    provenance: wireName(ProvenanceStatus, row.provenance?.status ?? 0),
    before: before ? wireName(Verdict, before.verdict) : null,
    reasons: row.reasons.slice(0, 8).map(({ code }) => text(code)),
  });
}

export function nodeVerdict(row: NodeRow, before: Verdict, timeMs: number): LogEntry {
  return entry("verdict", timeMs, {
    subject: "node",
    node: row.id,
    name: text(row.name),
    verdict: wireName(Verdict, row.verdict),
    before: wireName(Verdict, before),
    trust: wireName(TrustLevel, row.trustLevel),
    reasons: row.reasons.slice(0, 8).map(({ code, detail }) => `${text(code)}: ${text(detail)}`),
  });
}

export function driftFact(row: DriftRow, timeMs: number): LogEntry {
  return entry("drift", timeMs, {
    id: row.id,
    incident: incidentId({ image: row.configDigest || row.imageReference, path: row.path, kind: row.kind }),
    state: wireName(DriftState, row.state),
    step: row.entries?.count ?? null,
    node: row.nodeId,
    nodeName: text(row.nodeName),
    container: text(row.containerId),
    name: text(row.containerName),
    workload: text(row.workload),
    image: text(row.imageReference),
    config: text(row.configDigest),
    kind: row.kind,
    place: row.place,
    severity: wireName(Severity, row.severity),
    path: pathText(row.path),
    pathBytes: row.path.length,
    summary: text(row.summary),
    differences: row.differences
      .slice(0, 16)
      .map(({ field, expected, observed }) => ({ field: text(field), expected: text(expected), observed: text(observed) })),
    who: row.actor ? actorFacts(row.actor) : null,
    ...(row.exception !== undefined && { exception: row.exception }),
    ...(isReopened(row) && {
      acknowledgedBefore: { by: text(row.acknowledgedBy), at: row.acknowledgedAtMs === undefined ? null : Math.floor(row.acknowledgedAtMs) },
    }),
    changedAt: row.changedAtMs === undefined ? null : Math.floor(row.changedAtMs),
  });
}

function actorFacts({ pid, executable, located, uid, containerId, entry: by, enteredAtMs }: ActorFacts) {
  const facts = { pid, executable: text(executable) };
  if (!located) return facts;
  const entered = by ? { entry: wireName(ActorEntry, by), ...(enteredAtMs !== undefined && { enteredAt: Math.floor(enteredAtMs) }) } : {};
  return { ...facts, uid, container: text(containerId), ...entered };
}

/** Something that a person or a node did, or tried. */
export function adminFact(action: string, timeMs: number, fields: Readonly<Record<string, string | number | boolean | null>>): LogEntry {
  const safe = Object.entries(fields).map(([name, value]) => [name, typeof value === "string" ? text(value) : value] as const);
  // Whatever a field is called, what was done is told by the caller alone.
  return entry("admin", timeMs, { ...Object.fromEntries(safe), action });
}
