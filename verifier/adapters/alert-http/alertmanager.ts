/**
 * Prometheus Alertmanager, API v2. Each alert is identified there by its labels, so what may change stands in annotations,
 * and `alert_id` keeps two files of one workload apart; the number of label sets is bounded by the number of open alerts.
 */
import type { AlertEvent, AlertNotification, Notifier } from "../../ports/notifier.ts";
import { httpPost } from "./http-post.ts";

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
      const body = JSON.stringify(notification.alerts.map((alert) => postableAlert(alert, notification, options.externalUrl, Date.now())));
      const headers = { ...(await options.headers()), "content-type": "application/json" };
      return await httpPost({ url, headers, body, timeoutMs: options.timeoutMs, ca: options.ca }, signal);
    },
  };
}

/** `postableAlert` of the API v2 description. Empty labels are the same as absent ones there. */
export function postableAlert(alert: AlertEvent, { suppressed }: AlertNotification, externalUrl: string | undefined, nowMs: number): Record<string, unknown> {
  const labels: Record<string, string> = {
    alertname: "HullmarkDrift",
    severity: alert.severity,
    kind: alert.kind,
    node: alert.node,
    alert_id: alert.fingerprint.slice(0, 12),
  };
  if (alert.incident) labels["incident"] = alert.incident;
  if (alert.workload !== "") labels["workload"] = alert.workload;
  if (alert.image !== "") labels["image"] = alert.image;
  const annotations: Record<string, string> = { summary: alert.summary, description: alert.description, next: alert.nextCommand, playbook: alert.playbook };
  if (alert.path !== "") annotations["path"] = alert.path;
  if (alert.containers.length > 0) annotations["containers"] = alert.containers.join(", ");
  if (alert.driftIds.length > 0) annotations["drift"] = alert.driftIds.join(", ");
  if (suppressed > 0) annotations["delayed"] = `${suppressed} alerts of this route waited for its rate limit`;
  return {
    labels,
    annotations,
    startsAt: new Date(alert.startsAtMs).toISOString(),
    endsAt: new Date(alert.endsAtMs ?? Math.max(nowMs, alert.startsAtMs) + FIRING_HOLD_MS).toISOString(),
    ...(externalUrl === undefined ? {} : { generatorURL: externalUrl }),
  };
}
