/** Drift records as alerts: the committer's view of the alert book. */
import { Severity } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import type { DriftRow } from "../../ports/rows.ts";
import type { AlertBook } from "../alerting/book.ts";
import type { AlertFailpoint } from "../alerting/dispatch.ts";
import type { HandledAlerts } from "../alerting/handled-alerts.ts";
import type { AlertSubject, SubjectState } from "../alerting/subject.ts";
import { entryWords } from "../appraisal/actor.ts";
import { incidentId } from "../incident/incident.ts";
import type { DriftPlace, Kind, Severity as SeverityName } from "../policy/kinds.ts";
import type { AlertRoute } from "../policy/types.ts";
import type { AlertPlanner } from "./committer.ts";
import { isReopened } from "./drift-rows.ts";

/** The words of alerts and metrics. */
export const SEVERITY_NAMES: Readonly<Record<Severity, SeverityName>> = {
  [Severity.UNSPECIFIED]: "info",
  [Severity.INFO]: "info",
  [Severity.LOW]: "low",
  [Severity.MEDIUM]: "medium",
  [Severity.HIGH]: "high",
  [Severity.CRITICAL]: "critical",
};
const STATES: Readonly<Record<DriftState, SubjectState>> = {
  [DriftState.UNSPECIFIED]: "notice",
  [DriftState.OPEN]: "open",
  [DriftState.ACKNOWLEDGED]: "acknowledged",
  [DriftState.RESOLVED]: "resolved",
  [DriftState.NOTICE]: "notice",
};

export function alertSubject(row: DriftRow): AlertSubject {
  const { actor } = row;
  return {
    driftId: row.id,
    incident: incidentId({ image: row.configDigest || row.imageReference, path: row.path, kind: row.kind }),
    image: row.configDigest || row.imageReference,
    state: STATES[row.state],
    // Rows are written from findings only, whose kinds and places are these.
    kind: row.kind as Kind,
    place: row.place as DriftPlace,
    severity: SEVERITY_NAMES[row.severity],
    nodeName: row.nodeName,
    workload: row.workload,
    imageReference: row.imageReference,
    containerName: row.containerName,
    path: row.path,
    summary: row.summary,
    layerIndex: row.layerIndex,
    layerHistory: row.history,
    actor: actor && {
      ...{
        executable: actor.executable,
        pid: actor.pid,
        located: actor.located,
        uid: actor.uid,
        inContainer: actor.containerId !== "" || actor.entry !== undefined,
      },
      entry: entryWords(actor),
    },
    provenance: row.provenance?.text ?? "",
    source: row.provenance?.commit ? { repository: row.provenance.sourceRepository, commit: row.provenance.commit } : undefined,
    acknowledgedBefore: isReopened(row) ? { by: row.acknowledgedBy, atMs: row.acknowledgedAtMs } : undefined,
    sinceMs: sinceOf(row),
    logIndex: row.logIndex,
  };
}

/** Nothing differs later than it was measured, whatever the node's clock says; NaN and what lies before 1970 count as not told. */
function sinceOf({ changedAtMs, measuredAtMs }: Pick<DriftRow, "changedAtMs" | "measuredAtMs">): number {
  return changedAtMs !== undefined && changedAtMs >= 0 ? Math.min(changedAtMs, measuredAtMs) : measuredAtMs;
}

export interface AlertPlannerServices {
  readonly book: AlertBook;
  /** Those of the policy in force. */
  readonly routes: () => readonly AlertRoute[];
  readonly nowMs: () => number;
  /** Drifts that people know of now. */
  readonly onTold: (driftIds: readonly string[], atMs: number) => void;
  /** There is something to deliver. */
  readonly onDue: () => void;
  readonly passing: (point: AlertFailpoint) => void;
  /** Alerts of which people do not know that their yes is waited for. */
  readonly handled: Pick<HandledAlerts, "unsaid" | "noteRetold">;
}

export function alertPlanner({ book, routes, nowMs, onTold, onDue, passing, handled }: AlertPlannerServices): AlertPlanner {
  // Of the plan that is to be applied next: they are made and applied one at a time.
  let retold: readonly string[] = [];
  return {
    plan: (drifts, others, delivered, deadLetters) => {
      retold = handled.unsaid();
      const plan = book.plan([...drifts.map(alertSubject), ...others], routes(), nowMs(), delivered, deadLetters, retold);
      if (plan.commit.notifications.length > 0) passing("alert-planned");
      return plan;
    },
    apply: (plan) => {
      const due = plan.commit.notifications.length > 0;
      if (due) passing("alert-committed");
      book.apply(plan);
      handled.noteRetold(retold);
      if (due) onDue();
      if (plan.told.length > 0) onTold(plan.told, plan.plannedAtMs);
    },
  };
}
