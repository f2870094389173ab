/**
 * An alert as an OCSF 1.6.0 Detection Finding (class 2004): created when it fires, updated when it is graver, closed when it is over, under one `finding_info.uid`.
 * https://schema.ocsf.io/1.6.0/classes/detection_finding
 */
import { basename } from "node:path/posix";
import type { AlertEvent, AlertNotification, AlertSeverity } from "../../ports/notifier.ts";

const OCSF_VERSION = "1.6.0";
const CATEGORY_FINDINGS = 2;
const CLASS_DETECTION_FINDING = 2004;
const CREATE = { activity_id: 1, activity_name: "Create", status_id: 1, status: "New" } as const;
const UPDATE = { activity_id: 2, activity_name: "Update", status_id: 1, status: "New" } as const;
const CLOSE = { activity_id: 3, activity_name: "Close", status_id: 4, status: "Resolved" } as const;
const ANALYTIC_RULE = 1;
const FILE_TYPE_UNKNOWN = 0;
/** Nodes among the resources; of more, the number alone fits into a message. */
const MAX_NODES = 4;

const SEVERITY: Readonly<Record<AlertSeverity, { readonly severity_id: number; readonly severity: string }>> = {
  info: { severity_id: 1, severity: "Informational" },
  low: { severity_id: 2, severity: "Low" },
  medium: { severity_id: 3, severity: "Medium" },
  high: { severity_id: 4, severity: "High" },
  critical: { severity_id: 5, severity: "Critical" },
};

export interface OcsfOptions {
  /** Of Hullmark. */
  readonly version: string;
  /** Where people reach the verifier; undefined: left out. */
  readonly externalUrl: string | undefined;
}

/** What is empty is left out. */
export function detectionFinding(
  alert: AlertEvent,
  { id, suppressed, waiting, createdAtMs }: AlertNotification,
  options: OcsfOptions,
): Record<string, unknown> {
  const activity = alert.status === "resolved" ? CLOSE : alert.earlierSeverities.length > 0 ? UPDATE : CREATE;
  return {
    ...{ category_uid: CATEGORY_FINDINGS, category_name: "Findings", class_uid: CLASS_DETECTION_FINDING, class_name: "Detection Finding" },
    ...{ ...activity, type_uid: CLASS_DETECTION_FINDING * 100 + activity.activity_id, type_name: `Detection Finding: ${activity.activity_name}` },
    ...SEVERITY[alert.severity],
    is_alert: alert.status === "firing",
    time: createdAtMs,
    start_time: alert.startsAtMs,
    ...(alert.endsAtMs === undefined ? {} : { end_time: alert.endsAtMs }),
    message: alert.summary,
    metadata: {
      version: OCSF_VERSION,
      product: { name: "Hullmark", vendor_name: "Hullmark", version: options.version },
      uid: `${id}-${alert.fingerprint}`,
      ...present({ correlation_uid: alert.incident }),
    },
    finding_info: {
      uid: alert.fingerprint,
      title: alert.summary,
      ...present({ desc: alert.description, src_url: options.externalUrl ?? "" }),
      types: [alert.kind],
      first_seen_time: alert.startsAtMs,
      analytic: { name: alert.kind, uid: alert.kind, type_id: ANALYTIC_RULE, type: "Rule" },
    },
    resources: resourcesOf(alert),
    ...(alert.path === "" ? {} : { evidences: [evidenceOf(alert)] }),
    ...(alert.nextCommand === "" ? {} : { remediation: { desc: alert.playbook === "" ? alert.nextCommand : `${alert.nextCommand} (${alert.playbook})` } }),
    unmapped: {
      ...{ drift: alert.driftIds, drift_count: alert.driftCount, containers: alert.containers, container_count: alert.containerCount },
      ...{ node_count: alert.nodeCount, workload_count: alert.workloadCount, reopened: alert.reopened, delayed: suppressed, waiting },
    },
  };
}

function resourcesOf({ nodes, workload, image }: AlertEvent): Record<string, unknown>[] {
  const slash = workload.indexOf("/");
  const namespace = slash < 0 ? "" : workload.slice(0, slash);
  return [
    ...nodes.slice(0, MAX_NODES).map((name) => ({ type: "node", name, hostname: name })),
    ...(workload === "" ? [] : [{ type: "workload", name: workload.slice(slash + 1), ...present({ namespace }) }]),
    ...(image === "" ? [] : [{ type: "image", uid: image, name: image }]),
  ];
}

function evidenceOf({ path, image, containers: [container] }: AlertEvent): Record<string, unknown> {
  return {
    file: { name: basename(path) || path, path, type_id: FILE_TYPE_UNKNOWN, type: "Unknown" },
    ...(container === undefined ? {} : { container: { name: container, ...(image === "" ? {} : { image: { uid: image, name: image } }) } }),
  };
}

function present(fields: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ""));
}
