/** {@link Meter} over prom-client, and everything that is read at the moment of a scrape. */
import { performance } from "node:perf_hooks";
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import { collectDefaultMetrics, Registry } from "prom-client";
import type { Census } from "../../core/fleet/census.ts";
import type { Readiness } from "../../core/fleet/health.ts";
import { wireName } from "../../core/fleet/log-facts.ts";
import { HELD, type Held } from "../../core/response/decide.ts";
import { FINDING_SEVERITIES, type FindingSeverity } from "../../core/vulnerabilities/types.ts";
import type { Meter } from "../../ports/meter.ts";
import { IMAGE_STATES, kindLabel, quoteReasonLabel, SIGNATURES, severityLabel, VERDICTS } from "./labels.ts";
import { declareSeries, type Series } from "./series.ts";

/** What the verifier knows at this moment. All of it is at hand: a scrape, which anyone may ask for, starts no query. Times are Unix milliseconds. */
export interface Present {
  /** undefined before the first. */
  readonly census: Census | undefined;
  readonly readiness: Readiness;
  readonly imageStates: readonly string[];
  readonly queuedDrafts: number;
  readonly commitsInFlight: number;
  readonly spooled: { readonly evidence: number; readonly bytes: number; readonly maxBytes: number };
  readonly log: {
    readonly entries: number;
    readonly checkpoint: number;
    readonly checkpointMs: number;
    readonly verifiedMs: number;
    readonly contradicted: boolean;
  };
  readonly policy: { readonly loaded: boolean; readonly problems: number };
  readonly response: { readonly actuators: number; readonly held: Readonly<Partial<Record<Held, number>>> };
  readonly baselinesToReview: number;
  readonly connections: Readonly<Record<string, number>>;
  readonly drills: readonly { readonly drill: string; readonly alarming: boolean; readonly lastPassedMs: number | undefined }[];
  /** Of images that run, by severity; undefined: not known yet. */
  readonly vulnerabilities: Readonly<Record<FindingSeverity, number>> | undefined;
  readonly keys: readonly { readonly name: string; readonly state: string; readonly dueAtMs: number }[];
}

export interface PrometheusMeter extends Meter {
  readonly registry: Registry;
  readonly series: Series;
  /** Where the present comes from, once there is one. */
  observe(present: () => Present): void;
}

/** @param version of this release @param certificates name → when it expires (Unix milliseconds) */
export function prometheusMeter(version: string, certificates: Readonly<Record<string, number>>): PrometheusMeter {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  let present: (() => Present) | undefined;
  const series: Series = declareSeries(registry, () => {
    if (present) show(series, present());
  });
  // No sample is better than the year 1970.
  series.outboxOldest.remove();
  series.oldestAttestation.remove();
  series.buildInfo.set({ version, node_version: process.versions.node }, 1);
  for (const [certificate, notAfterMs] of Object.entries(certificates)) series.certificateExpiry.set({ certificate }, notAfterMs / 1000);
  let newestDrift = 0;
  return {
    registry,
    series,
    observe: (source) => {
      present = source;
    },
    evidence: (result) => series.evidence.inc({ result }),
    quote: (kind, code) => series.quotes.inc({ result: kind === "fresh" ? "accepted" : kind, reason: kind === "fresh" ? "" : quoteReasonLabel(code) }),
    appraisal(work) {
      const startedMs = performance.now();
      try {
        return work();
      } finally {
        series.appraisal.observe((performance.now() - startedMs) / 1000);
      }
    },
    committed({ drifts = [], actions = [] }) {
      // What an action waits for, or who approved it, is no other state.
      for (const { row, before } of actions)
        if (row.state !== before) series.actions.inc({ kind: wireName(ActionKind, row.kind), state: wireName(ActionState, row.state) });
      for (const { number, severity, kind, changedAtMs, committedAtMs } of drifts) {
        // Numbers are given, and first committed, in order: a lower one is an update.
        if (number <= newestDrift) continue;
        newestDrift = number;
        series.driftsOpened.inc({ severity: severityLabel(severity), kind: kindLabel(kind) });
        if (changedAtMs !== undefined) series.detection.observe(Math.max(0, committedAtMs - changedAtMs) / 1000);
      }
    },
    coverage({ node, workload }) {
      series.nodeObserved.inc(node.observed);
      series.nodeUnattested.inc(node.unattested);
      series.workloadObserved.inc(workload.observed);
      series.workloadUnattested.inc(workload.unattested);
    },
    eventsLost: (count) => series.eventsLost.inc(count),
    admission(decision, seconds) {
      series.admissions.inc({ decision });
      series.admissionSeconds.observe(seconds);
    },
    dutyFailed: (duty) => series.dutyFailures.inc({ duty }),
  };
}

function show(
  series: Series,
  {
    census,
    readiness,
    imageStates,
    queuedDrafts,
    commitsInFlight,
    spooled,
    log,
    policy,
    response,
    baselinesToReview,
    connections,
    drills,
    vulnerabilities,
    keys,
  }: Present,
): void {
  for (const [component, state] of Object.entries(readiness.components)) series.ready.set({ component }, state === "ok" ? 1 : 0);
  for (const state of IMAGE_STATES) series.images.set({ state }, imageStates.filter((each) => each === state).length);
  series.commitQueue.set(queuedDrafts);
  series.commitsInFlight.set(commitsInFlight);
  series.spooledEvidence.set(spooled.evidence);
  series.spooledBytes.set(spooled.bytes);
  series.spooledBytesMax.set(spooled.maxBytes);
  series.logEntries.set(log.entries);
  series.checkpointEntries.set(log.checkpoint);
  series.checkpointTime.set(log.checkpointMs / 1000);
  series.verifiedTime.set(log.verifiedMs / 1000);
  series.logContradicted.set(log.contradicted ? 1 : 0);
  series.policyLoaded.set(policy.loaded ? 1 : 0);
  series.policyProblems.set(policy.problems);
  series.actuators.set(response.actuators);
  for (const why of HELD) series.actionsHeld.set({ why }, response.held[why] ?? 0);
  series.baselinesToReview.set(baselinesToReview);
  for (const [listener, count] of Object.entries(connections)) series.connections.set({ listener }, count);
  for (const { drill, alarming, lastPassedMs } of drills) {
    series.drillAlarm.set({ drill }, alarming ? 1 : 0);
    if (lastPassedMs !== undefined) series.drillPassed.set({ drill }, lastPassedMs / 1000);
  }
  if (vulnerabilities) for (const severity of FINDING_SEVERITIES) series.vulnerabilities.set({ severity }, vulnerabilities[severity]);
  series.keyDue.reset();
  for (const { name, state, dueAtMs } of keys) series.keyDue.set({ key: name, state }, dueAtMs / 1000);
  if (census) showCensus(series, census);
}

function showCensus(series: Series, census: Census): void {
  const sum = (counts: Readonly<Record<number, number>>, keys: readonly number[]): number => keys.reduce((total, key) => total + (counts[key] ?? 0), 0);
  for (const [verdict, values] of Object.entries(VERDICTS)) {
    series.nodes.set({ verdict }, sum(census.nodesByVerdict, values));
    series.workloads.set({ verdict }, sum(census.workloads.byVerdict, values));
  }
  for (const [status, values] of Object.entries(SIGNATURES)) series.signatures.set({ status }, sum(census.workloads.byProvenance, values));
  series.connected.set(census.connectedNodes);
  series.driftsOpen.reset();
  for (const { severity, kind, count } of census.openDrifts) series.driftsOpen.inc({ severity: severityLabel(severity), kind: kindLabel(kind) }, count);
  series.outbox.set({ state: "pending" }, census.outbox.pending);
  series.outbox.set({ state: "dead" }, census.outbox.dead);
  setOrRemove(series.outboxOldest, census.outbox.oldestPendingAtMs);
  setOrRemove(series.oldestAttestation, census.oldestAttestationMs);
}

function setOrRemove(gauge: Series["outboxOldest"], timeMs: number | undefined): void {
  if (timeMs === undefined) gauge.remove();
  else gauge.set(timeMs / 1000);
}
