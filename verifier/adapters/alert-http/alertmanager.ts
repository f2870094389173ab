/**
 * Prometheus Alertmanager, API v2. Each alert is identified there by its labels, so what may change stands in annotations. Severity is a label all the same, since
 * people route by it: where it rises, the alert of before is ended in the same request. `alert_id` keeps two alerts of one workload apart; the number of label sets
 * is bounded by the number of open alerts.
 */
import type { AlertEvent, AlertNotification, Notifier } from "../../ports/notifier.ts";
import { counted } from "./counted.ts";
import { httpPost } from "./http-post.ts";
import { rateLimitNote } from "./rate-limit.ts";

/**
 * Alertmanager resolves an alert by itself at `endsAt`. A firing one is good for so long after each sending: longer than a verifier is likely to be away,
 * since silence must not read as "resolved". Open alerts are sent again well before (and soon, because Alertmanager forgets them when it restarts).
 */
export const FIRING_HOLD_MS = 4 * 3600 * 1000;
/** How often open alerts are to be sent again (`AlertBook.refresh`). */
export const REFRESH_INTERVAL_MS = 120_000;

export interface AlertmanagerOptions {
  readonly route: string;
  /** Base URL, with any path prefix: `/api/v2/alerts` is added. */
  readonly url: string;
  readonly headers: () => Promise<Readonly<Record<string, string>>>;
  readonly timeoutMs: number;
  /** Where a person can look at the verifier, for `generatorURL`; undefined: left out. */
  readonly externalUrl: string | undefined;
  /** PEM certificates for https. */
  readonly ca: string | undefined;
}

export function alertmanagerNotifier(options: AlertmanagerOptions): Notifier {
  const url = `${options.url.replace(/\/+$/, "")}/api/v2/alerts`;
  return {
    route: options.route,
    type: "alertmanager",
    async notify(notification, signal) {
      const body = JSON.stringify(notification.alerts.flatMap((alert) => postableAlerts(alert, notification, options.externalUrl, Date.now())));
      const headers = { ...(await options.headers()), "content-type": "application/json" };
      return await httpPost({ url, headers, body, timeoutMs: options.timeoutMs, ca: options.ca }, signal);
    },
  };
}

/** The alert, and the end of each that it replaces. */
export function postableAlerts(alert: AlertEvent, notification: AlertNotification, externalUrl: string | undefined, nowMs: number): Record<string, unknown>[] {
  const replaced = alert.earlierSeverities.map((severity): AlertEvent => ({ ...alert, severity, status: "resolved", endsAtMs: nowMs }));
  return [...replaced, alert].map((each) => postableAlert(each, notification, externalUrl, nowMs));
}

/** `postableAlert` of the API v2 description. Empty labels are the same as absent ones there. */
function postableAlert(alert: AlertEvent, notification: AlertNotification, externalUrl: string | undefined, nowMs: number): Record<string, unknown> {
  const labels: Record<string, string> = {
    alertname: "HullmarkDrift",
    severity: alert.severity,
    kind: alert.kind,
    alert_id: alert.fingerprint.slice(0, 12),
  };
  if (alert.incident) labels["incident"] = alert.incident;
  if (alert.node !== "") labels["node"] = alert.node;
  if (alert.workload !== "") labels["workload"] = alert.workload;
  if (alert.image !== "") labels["image"] = alert.image;
  const annotations: Record<string, string> = { summary: alert.summary, description: alert.description, next: alert.nextCommand, playbook: alert.playbook };
  if (alert.path !== "") annotations["path"] = alert.path;
  if (alert.nodes.length > 0) annotations["nodes"] = counted(alert.nodes, alert.nodeCount);
  if (alert.workloads.length > 0) annotations["workloads"] = counted(alert.workloads, alert.workloadCount);
  if (alert.containers.length > 0) annotations["containers"] = counted(alert.containers, alert.containerCount);
  if (alert.driftIds.length > 0) annotations["drift"] = counted(alert.driftIds, alert.driftCount);
  const delayed = rateLimitNote(notification);
  if (delayed !== "") annotations["delayed"] = delayed;
  // An end that is still to come, by a clock that was set back meanwhile or by a node's, would be none to Alertmanager.
  const endsAtMs = alert.endsAtMs === undefined ? Math.max(nowMs, alert.startsAtMs) + FIRING_HOLD_MS : Math.min(alert.endsAtMs, nowMs);
  return {
    labels,
    annotations,
    startsAt: new Date(Math.min(alert.startsAtMs, endsAtMs)).toISOString(),
    endsAt: new Date(endsAtMs).toISOString(),
    ...(externalUrl === undefined ? {} : { generatorURL: externalUrl }),
  };
}
