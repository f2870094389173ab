/**
 * Generic webhook: each notification is one CloudEvents 1.0 event (JSON, structured mode) of type `dev.hullmark.alert.v1`. `id` is the same over retries.
 * With a key, `Hullmark-Signature: t=<Unix seconds>,v1=<hex HMAC-SHA-256 over "<t>.<body>">` lets the receiver know the sender and drop what is old;
 * with two keys there is a `v1` of each.
 */
import { createHmac } from "node:crypto";
import { CloudEvent, HTTP } from "cloudevents";
import type { AlertEvent, AlertNotification, Notifier } from "../../ports/notifier.ts";
import { httpPost } from "./http-post.ts";

export const ALERT_EVENT_TYPE = "dev.hullmark.alert.v1";
export const SIGNATURE_HEADER = "hullmark-signature";

export interface WebhookOptions {
  readonly route: string;
  readonly url: string;
  /** Sent with every request; values may be secret. */
  readonly headers: () => Promise<Readonly<Record<string, string>>>;
  readonly timeoutMs: number;
  /** Keys of the HMAC; none: not signed. */
  readonly hmacKeys: () => Promise<readonly string[]>;
  /** URI-reference that names this verifier, for example `//hullmark/eu-1`. */
  readonly source: string;
  /** PEM certificates for https. */
  readonly ca: string | undefined;
}

export function webhookNotifier(options: WebhookOptions): Notifier {
  return {
    route: options.route,
    type: "webhook",
    async notify(notification, signal) {
      const { headers, body } = HTTP.structured(eventOf(notification, options.source));
      const text = String(body);
      const keys = await options.hmacKeys();
      const signature = keys.length === 0 ? {} : { [SIGNATURE_HEADER]: signBody(keys, Math.floor(Date.now() / 1000), text) };
      const own = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
      return await httpPost(
        { url: options.url, headers: { ...(await options.headers()), ...own, ...signature }, body: text, timeoutMs: options.timeoutMs, ca: options.ca },
        signal,
      );
    },
  };
}

/** The value of the signature header. */
export function signBody(keys: readonly string[], unixSeconds: number, body: string): string {
  const macs = keys.map((key) => `,v1=${createHmac("sha256", key).update(`${unixSeconds}.${body}`).digest("hex")}`);
  return `t=${unixSeconds}${macs.join("")}`;
}

function eventOf(notification: AlertNotification, source: string): CloudEvent<unknown> {
  const { id, route, groupKey, alerts, suppressed, waiting, createdAtMs } = notification;
  return new CloudEvent({
    id,
    source,
    type: ALERT_EVENT_TYPE,
    ...(groupKey === "" ? {} : { subject: groupKey }),
    time: new Date(createdAtMs).toISOString(),
    datacontenttype: "application/json",
    data: { route, group: groupKey, suppressed, waiting, alerts: alerts.map(alertJson) },
  });
}

function alertJson({ startsAtMs, endsAtMs, acknowledged: _only, ...alert }: AlertEvent): Record<string, unknown> {
  return { ...alert, startsAt: new Date(startsAtMs).toISOString(), ...(endsAtMs === undefined ? {} : { endsAt: new Date(endsAtMs).toISOString() }) };
}
