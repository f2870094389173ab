/** Alert routes that speak HTTP. */
import type { StandingAlerts } from "../../core/alerting/index.ts";
import type { AlertRoute, SyslogRoute } from "../../core/policy/types.ts";
import type { AlertEvent, Notifier } from "../../ports/notifier.ts";
import { alertmanagerNotifier } from "./alertmanager.ts";
import { commitStatusNotifier } from "./commit-status.ts";
import { headersOf } from "./headers.ts";
import { pagerdutyNotifier } from "./pagerduty.ts";
import { type Secret, type SecretPlaces, secretOf } from "./secrets.ts";
import { slackNotifier } from "./slack.ts";
import { webhookNotifier } from "./webhook.ts";

export * from "./alertmanager.ts";
export * from "./commit-status.ts";
export * from "./heartbeat.ts";
export * from "./pagerduty.ts";
export * from "./slack.ts";
export * from "./webhook.ts";

export interface RouteSurroundings extends SecretPlaces {
  readonly readFile: (path: string) => string;
  /** Names this verifier in CloudEvents, for example `//hullmark/eu-1`. */
  readonly source: string;
  /** Where people reach the verifier; undefined: unknown. */
  readonly externalUrl: string | undefined;
  /** What else stands, of what a route was told, of the same commit and workload. */
  readonly standing: (route: string, alert: AlertEvent) => StandingAlerts;
}

/** The notifier of a route of the policy. @throws Error where a named environment variable is not set or the CA file cannot be read: the route cannot work, and that must be seen */
export function notifierFor(route: Exclude<AlertRoute, SyslogRoute>, surroundings: RouteSurroundings): Notifier {
  const { externalUrl, source } = surroundings;
  const common = {
    route: route.name,
    timeoutMs: route.timeoutSeconds * 1000,
    ca: route.caFile === undefined ? undefined : surroundings.readFile(route.caFile),
  };
  const secret = (from: Parameters<typeof secretOf>[0]): Secret => secretOf(from, `alert route ${route.name}`, surroundings);
  switch (route.type) {
    case "alertmanager":
      return alertmanagerNotifier({ ...common, url: route.url, headers: headersOf(route.headers, secret), externalUrl });
    case "webhook": {
      const keys = route.hmacKeys.map(secret);
      const hmacKeys = () => Promise.all(keys.map((key) => key()));
      return webhookNotifier({ ...common, url: route.url, headers: headersOf(route.headers, secret), hmacKeys, source });
    }
    case "pagerduty":
      return pagerdutyNotifier({ ...common, url: route.url, routingKey: secret(route.routingKey), externalUrl });
    case "slack":
      return slackNotifier({ ...common, webhookUrl: secret(route.webhookUrl), externalUrl });
    case "commit-status": {
      const { service, url, repositories } = route;
      const standing = (alert: AlertEvent) => surroundings.standing(route.name, alert);
      return commitStatusNotifier({ ...common, service, url, repositories, token: secret(route.token), standing, externalUrl });
    }
  }
}
