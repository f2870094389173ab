/** One alert's record, as drift comes and goes. */
import type { AlertEvent } from "../../ports/notifier.ts";
import type { AlertRecord } from "../../ports/outbox.ts";
import { SEVERITIES } from "../policy/kinds.ts";
import { printable } from "../text/printable.ts";
import { type AlertSubject, alertFingerprint } from "./subject.ts";
import { alertDescription, alertStormSummary, alertSummary, nextCommand, playbookOf } from "./text.ts";

/** Names and ids shown with an alert; the rest is counted. */
const MAX_SHOWN = 16;

export interface Storm {
  readonly fingerprint: string;
  readonly kind: "many";
}

/** The alert that stands for all beyond the limit of a workload. */
export function stormOf({ nodeName, workload, imageReference }: AlertSubject): Storm {
  return { fingerprint: alertFingerprint({ nodeName, workload, imageReference, path: Buffer.alloc(0), kind: "many" }), kind: "many" };
}

/** The record with this subject in it. Opening, a graver severity, and spreading or changing after an acknowledgement are news; the rest is not. */
export function mergeSubject(
  record: AlertRecord | undefined,
  fingerprint: string,
  storm: Storm | undefined,
  subject: AlertSubject,
  nowMs: number,
): AlertRecord {
  // A record with nothing open was resolved in the meantime: this is a new episode of it, of which every route is to be told.
  const open = record && record.openDriftIds.length > 0 ? record : undefined;
  const spreads = !open?.openDriftIds.includes(subject.driftId);
  const openDriftIds = spreads ? [...(open?.openDriftIds ?? []), subject.driftId] : (open?.openDriftIds ?? []);
  const graver = open !== undefined && SEVERITIES.indexOf(subject.severity) > SEVERITIES.indexOf(open.event.severity);
  const acknowledged = subject.state === "acknowledged" || (open?.acknowledged === true && !spreads && !graver && !subject.acknowledgedBefore);
  const news = !open || graver || (open.acknowledged && !acknowledged);
  const severity = open && !graver ? open.event.severity : subject.severity;
  return {
    fingerprint,
    event: eventOf(open?.event, fingerprint, storm, { ...subject, severity }, openDriftIds),
    openDriftIds,
    notifiedAtMs: record?.notifiedAtMs ?? {},
    notifiedSeverity: record?.notifiedSeverity ?? {},
    acknowledged,
    updatedAtMs: news ? nowMs : (open?.updatedAtMs ?? nowMs),
  };
}

/** The record without this subject; resolved when it was the last. */
export function releaseSubject(record: AlertRecord, subject: AlertSubject, nowMs: number): AlertRecord {
  const openDriftIds = record.openDriftIds.filter((id) => id !== subject.driftId);
  const { event } = record;
  const driftIds = event.driftIds.length > openDriftIds.length ? openDriftIds.slice(0, MAX_SHOWN) : event.driftIds;
  if (openDriftIds.length > 0) return { ...record, openDriftIds, event: { ...event, driftIds } };
  return { ...record, openDriftIds, event: { ...event, status: "resolved", endsAtMs: Math.max(nowMs, event.startsAtMs) }, updatedAtMs: nowMs };
}

function eventOf(
  before: AlertEvent | undefined,
  fingerprint: string,
  storm: Storm | undefined,
  subject: AlertSubject,
  openDriftIds: readonly string[],
): AlertEvent {
  const name = printable(subject.containerName, 128);
  const named = name === "" || before?.containers.includes(name);
  const containers = named ? (before?.containers ?? []) : [...(before?.containers ?? []), name].slice(0, MAX_SHOWN);
  // Without a storm each drift id of an alert is another container's.
  const containerCount = storm || name === "" ? containers.length : Math.max(containers.length, openDriftIds.length);
  const startsAtMs = Math.min(before?.startsAtMs ?? subject.sinceMs, subject.sinceMs);
  const next = storm ? "hullmark drift ls" : nextCommand(subject);
  return {
    fingerprint,
    incident: storm ? "" : subject.incident,
    status: "firing",
    severity: subject.severity,
    kind: storm ? storm.kind : subject.kind,
    node: printable(subject.nodeName, 253),
    workload: printable(subject.workload, 253),
    image: printable(subject.imageReference, 512),
    path: storm ? "" : printable(subject.path, 1024),
    containers,
    containerCount,
    driftIds: openDriftIds.slice(0, MAX_SHOWN),
    startsAtMs,
    endsAtMs: undefined,
    summary: storm ? alertStormSummary(subject, openDriftIds.length) : alertSummary(subject),
    description: storm
      ? `Too many differences for an alert each. The newest:\n${alertDescription(subject, containers, containerCount)}`
      : alertDescription({ ...subject, sinceMs: startsAtMs }, containers, containerCount),
    nextCommand: next,
    playbook: playbookOf(storm ? storm.kind : subject.kind),
  };
}
