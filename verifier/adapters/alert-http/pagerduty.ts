/**
 * PagerDuty Events API v2, one event an alert: a trigger while it fires, an acknowledge when somebody has acknowledged all of it, a resolve when it is over. The alert's fingerprint is the `dedup_key`, so a repetition
 * adds to the alert that is open there, and never makes another page.
 * https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
 */
import type { AlertEvent, AlertNotification, AlertSeverity, Notifier } from "../../ports/notifier.ts";
import { NotifierError } from "../../ports/notifier.ts";
import { counted } from "./counted.ts";
import { httpPost } from "./http-post.ts";
import { rateLimitNote } from "./rate-limit.ts";
import type { Secret } from "./secrets.ts";

/** Theirs are four. */
const SEVERITY: Readonly<Record<AlertSeverity, "critical" | "error" | "warning" | "info">> = {
  critical: "critical",
  high: "error",
  medium: "warning",
  low: "info",
  info: "info",
};

export interface PagerdutyOptions {
  readonly route: string;
  readonly url: string;
  readonly routingKey: Secret;
  /** For each event. */
  readonly timeoutMs: number;
  /** Where people reach the verifier; undefined: left out. */
  readonly externalUrl: string | undefined;
  /** PEM certificates for https. */
  readonly ca: string | undefined;
}

export function pagerdutyNotifier({ route, url, routingKey, timeoutMs, externalUrl, ca }: PagerdutyOptions): Notifier {
  const headers = { "content-type": "application/json" };
  return {
    route,
    type: "pagerduty",
    async notify(notification, signal) {
      const key = await routingKey();
      let answer = "";
      const refused: NotifierError[] = [];
      for (const alert of notification.alerts) {
        const body = JSON.stringify({ routing_key: key, ...pagerdutyEvent(alert, notification, externalUrl) });
        try {
          answer = await httpPost({ url, headers, body, timeoutMs, ca, secrets: [key] }, signal);
        } catch (error) {
          // What they refuse says nothing of the next alert; anything else is worth another try of the whole, which their deduplication allows.
          if (!(error instanceof NotifierError) || error.retryable) throw error;
          refused.push(error);
        }
      }
      const [first] = refused;
      if (!first) return answer;
      const of = notification.alerts.length === 1 ? "" : `${refused.length} of ${notification.alerts.length} alerts refused: `;
      throw new NotifierError(first.code, `${of}${first.message.slice(first.code.length + 2)}`, { cause: first });
    },
  };
}

/**
 * All but the routing key. The fields of an alert are bounded (`AlertEvent`): an event is far below the 512 kB that they take, and its summary below their 1,024
 * characters.
 */
function pagerdutyEvent(alert: AlertEvent, notification: AlertNotification, externalUrl: string | undefined): Record<string, unknown> {
  const { fingerprint, status, severity, kind, workload, image, path, incident, summary, description, nextCommand, playbook } = alert;
  if (status === "resolved") return { event_action: "resolve", dedup_key: fingerprint };
  if (alert.acknowledged) return { event_action: "acknowledge", dedup_key: fingerprint };
  const details = {
    ...{ description, next: nextCommand, playbook, workload, image, path, incident },
    ...{ nodes: counted(alert.nodes, alert.nodeCount), workloads: counted(alert.workloads, alert.workloadCount) },
    ...{ containers: counted(alert.containers, alert.containerCount), drift: counted(alert.driftIds, alert.driftCount) },
    delayed: rateLimitNote(notification),
  };
  return {
    event_action: "trigger",
    dedup_key: fingerprint,
    client: "Hullmark",
    ...(externalUrl === undefined ? {} : { client_url: externalUrl }),
    payload: {
      summary,
      source: alert.nodes[0] || "hullmark",
      severity: SEVERITY[severity],
      timestamp: new Date(alert.startsAtMs).toISOString(),
      class: kind,
      ...(workload === "" ? {} : { component: workload }),
      ...(workload.includes("/") ? { group: workload.slice(0, workload.indexOf("/")) } : {}),
      custom_details: Object.fromEntries(Object.entries(details).filter(([, value]) => value !== "")),
    },
  };
}
