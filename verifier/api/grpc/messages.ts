/** Rows as messages. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ActorEntry, type ActorSchema, type ClaimSchema, type TrustVectorSchema } from "@hullmark/proto/v1/common";
import type {
  BaselineReportRowSchema,
  BaselineSchema,
  DriftSchema,
  ExceptionSchema,
  ImageSchema,
  NodeBootSchema,
  NodeImaSchema,
  NodeSchema,
  NotificationSchema,
  ProvenanceSchema,
  WorkloadSchema,
} from "@hullmark/proto/v1/query";
import type { ActorFacts } from "../../core/appraisal/types.ts";
import type { ReportRow } from "../../core/fleet/baseline-report.ts";
import { sightOf } from "../../core/fleet/drift-rows.ts";
import { WIRE_SEVERITY } from "../../core/policy/match.ts";
import type { StandingMarks } from "../../core/response/standing-marks.ts";
import type { OutboxEntry } from "../../ports/outbox.ts";
import type {
  BaselineRow,
  BootRow,
  ClaimRow,
  DriftRow,
  ExceptionRow,
  ImageRow,
  ImaRow,
  NodeRow,
  ProvenanceRow,
  VectorRow,
  WorkloadRow,
} from "../../ports/rows.ts";

type Timestamp = ReturnType<typeof timestampFromMs>;

/** Times may have fractions of a millisecond; what cannot be a time is left out. */
function time(ms: number | undefined): { value?: Timestamp } {
  if (ms === undefined || !Number.isFinite(ms) || Math.abs(ms) > 8.64e15) return {};
  const whole = Math.floor(ms);
  const value = timestampFromMs(whole);
  value.nanos += Math.floor((ms - whole) * 1e6);
  return { value };
}

function at<K extends string>(name: K, ms: number | undefined): { [N in K]?: Timestamp } {
  const { value } = time(ms);
  return (value ? { [name]: value } : {}) as { [N in K]?: Timestamp };
}

function claim({ code, detail, sinceMs }: ClaimRow): MessageInitShape<typeof ClaimSchema> {
  return { code, detail, ...at("since", sinceMs) };
}

function vector(row: VectorRow | undefined): { vector?: MessageInitShape<typeof TrustVectorSchema> } {
  return row ? { vector: { ...row } } : {};
}

function provenance(row: ProvenanceRow | undefined): { provenance?: MessageInitShape<typeof ProvenanceSchema> } {
  return row ? { provenance: { ...row, authorities: [...row.authorities] } } : {};
}

export function nodeMessage(row: NodeRow, connected: boolean, standing: StandingMarks | undefined): MessageInitShape<typeof NodeSchema> {
  const { id, name, verdict, trustLevel, kernel, runtime, changeSource, agentVersion, containers, bootId } = row;
  return {
    ...{ id, name, verdict, trustLevel, kernel, runtime, changeSource, agentVersion, containers, bootId, connected },
    ...{ reasons: row.reasons.map(claim), claims: row.claims.map(claim), revoked: row.revokedAtMs !== undefined },
    ...at("lastSeen", row.lastSeenMs),
    ...at("lastQuote", row.lastQuoteMs),
    ...at("gapFrom", row.gap?.fromMs),
    ...at("gapTo", row.gap?.toMs),
    ...at("enrolledAt", row.enrolledAtMs),
    ...(standing && { marks: [...standing.marks], markActions: standing.actions.map(({ id: action }) => action) }),
    ...vector(row.vector),
  };
}

export function bootMessage({ eventLogSha256, pcrs, log }: BootRow): MessageInitShape<typeof NodeBootSchema> {
  const quoted = { eventLogSha256, pcrs: pcrs.map(({ index, value }) => ({ index, value })) };
  if (typeof log === "string") return { ...quoted, eventLog: log };
  if (!log.ok) return { ...quoted, eventLog: "malformed", problem: log.problem };
  const { claims, comparison } = log;
  const { secureBoot, images, drivers, files, initrds, sections, shimLists, unknown, exitBootServices } = claims;
  return {
    ...quoted,
    eventLog: "read",
    secureBoot: secureBoot.state,
    secureBootDetail: secureBoot.detail,
    variables: { ...secureBoot.variables },
    authorities: secureBoot.authorities.map(({ variable, sha256 }) => ({ pcr: 7, name: variable, digest: sha256 })),
    commandLines: [...claims.commandLines],
    ...{ images: [...images], drivers: [...drivers], files: [...files], initrds: [...initrds], sections: [...sections] },
    ...{ shimLists: [...shimLists], unknown: [...unknown], exitBootServices },
    differingPcrs: [...new Set(comparison.differing.map(({ pcr }) => pcr))],
    unquotedPcrs: [...comparison.unquoted],
  };
}

export function imaMessage({ standing, problem, count, violations, items, moreItems }: ImaRow): MessageInitShape<typeof NodeImaSchema> {
  return {
    ...{ standing, problem, entries: BigInt(count), violations: BigInt(violations), moreUnvouched: BigInt(moreItems) },
    unvouched: items.map(({ path, digest, index }) => ({ path, digest, position: BigInt(index) })),
  };
}

export function workloadMessage(row: WorkloadRow, nodeName: string): MessageInitShape<typeof WorkloadSchema> {
  const { nodeId, containerId, containerName, workload, imageReference, configDigest, manifestDigest, verdict, content, openDrifts, notices } = row;
  return {
    ...{ nodeId, nodeName, containerId, containerName, workload, imageReference, configDigest, manifestDigest, verdict, content, openDrifts, notices },
    reasons: row.reasons.map(claim),
    ...at("startedAt", row.startedAtMs),
    ...at("appraisedAt", row.appraisedAtMs),
    ...provenance(row.provenance),
    ...vector(row.vector),
  };
}

function actorMessage({
  enteredAtMs,
  enteredFrom = [],
  entry = ActorEntry.UNSPECIFIED,
  containerName = "",
  ...actor
}: ActorFacts): MessageInitShape<typeof ActorSchema> {
  return { ...actor, ancestry: [...actor.ancestry], entry, enteredFrom: [...enteredFrom], containerName, ...at("enteredAt", enteredAtMs) };
}

export function driftMessage(row: DriftRow): MessageInitShape<typeof DriftSchema> {
  const { id, severity, kind, state, nodeId, nodeName, containerId, containerName, workload, imageReference, configDigest, path, summary } = row;
  const { place, layerIndex, diffId, history, acknowledgedBy, acknowledgedReason, actor } = row;
  return {
    ...{ id, severity, kind, state, nodeId, nodeName, containerId, containerName, workload, imageReference, configDigest, path, summary },
    ...{ seen: sightOf(row), exception: row.exception ?? "" },
    ...{ acknowledgedBy, acknowledgedReason, logIndex: BigInt(row.logIndex), mappedBy: [...row.mappedBy] },
    differences: row.differences.map((each) => ({ ...each })),
    origin: { place, layerIndex, diffId, history },
    ...(actor && { actor: actorMessage(actor) }),
    ...at("changedAt", row.changedAtMs),
    ...at("notBefore", row.notBeforeMs),
    ...at("measuredAt", row.measuredAtMs),
    ...at("committedAt", row.committedAtMs),
    ...at("alertedAt", row.alertedAtMs),
    ...at("resolvedAt", row.resolvedAtMs),
    ...at("acknowledgedAt", row.acknowledgedAtMs),
    ...provenance(row.provenance),
  };
}

export function imageMessage(row: ImageRow, containers: number): MessageInitShape<typeof ImageSchema> {
  return {
    configDigest: row.configDigest,
    references: [...row.references],
    manifestDigests: [...row.manifestDigests],
    layers: row.layers,
    entries: BigInt(row.entries),
    containers,
    referenceState: row.state,
    referenceDetail: row.detail,
    platform: row.platform,
    ...provenance(row.provenance),
  };
}

export function baselineMessage(row: BaselineRow): MessageInitShape<typeof BaselineSchema> {
  const { id, pool, version, state, pcrs, files, nodes, proposedBy, approvedBy, reason, workload = "", owner = proposedBy, learned = [] } = row;
  return {
    ...{ id, pool, version, state, files: [...files], nodes: [...nodes], proposedBy, approvedBy, reason, workload, owner },
    paths: learned.flatMap(({ select, paths }) => paths.map((path) => ({ ...path, containers: [...select.containers] }))),
    pcrs: Object.entries(pcrs).map(([index, values]) => ({ index: Number(index), values: [...values] })),
    ...at("proposedAt", row.proposedAtMs),
    ...at("approvedAt", row.approvedAtMs),
    ...at("reviewAt", row.reviewAtMs),
  };
}

export function reportMessage({ approvedAtMs, reviewAtMs, lastUsedMs, ...row }: ReportRow): MessageInitShape<typeof BaselineReportRowSchema> {
  return { ...row, ...at("approvedAt", approvedAtMs), ...at("reviewAt", reviewAtMs), ...at("lastUsed", lastUsedMs) };
}

export function notificationMessage(entry: OutboxEntry, works: boolean): MessageInitShape<typeof NotificationSchema> {
  const { id, route, state, severity, summary, firing, resolved, attempts, lastError = "" } = entry;
  return {
    ...{ id, route, state, severity: WIRE_SEVERITY[severity], summary, firing, resolved, attempts, lastError, stranded: state === "pending" && !works },
    ...at("createdAt", entry.createdAtMs),
    ...at("nextTryAt", state === "pending" ? entry.notBeforeMs : undefined),
    ...at("endedAt", entry.endedAtMs),
  };
}

export function exceptionMessage(row: ExceptionRow): MessageInitShape<typeof ExceptionSchema> {
  const { id, state, driftId, nodeName, workload, containerName, imageReference, path, summary, reason, requestedBy, decidedBy, decision, endedBy } = row;
  const { select, service = "", place, kind, severity, glob, observed, configDigest } = row.scope;
  return {
    ...{ id, state, driftId, nodeName, workload, containerName, imageReference, path, summary, reason, requestedBy, decidedBy, decision, endedBy },
    scope: { workloads: [...select.workloads], containers: [...select.containers], service, place, kind, severity, pathGlob: glob, observed, configDigest },
    ...at("requestedAt", row.requestedAtMs),
    ...at("until", row.untilMs),
    ...at("decidedAt", row.decidedAtMs),
    ...at("endedAt", row.endedAtMs),
    ...at("remindedAt", row.remindedAtMs),
  };
}
