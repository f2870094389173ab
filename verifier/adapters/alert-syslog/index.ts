/** Alert routes to syslog: RFC 5424 over TLS or TCP, each alert an OCSF Detection Finding. */
import { readFileSync } from "node:fs";
import type { SyslogRoute } from "../../core/policy/types.ts";
import type { Notifier } from "../../ports/notifier.ts";
import { syslogFrame } from "./message.ts";
import { detectionFinding, type OcsfOptions } from "./ocsf.ts";
import { sendFrames } from "./send.ts";

export interface SyslogSurroundings extends OcsfOptions {
  /** HOSTNAME of the messages: names this verifier. */
  readonly hostname: string;
}

/** @throws Error where the CA file cannot be read */
export function syslogNotifier(route: SyslogRoute, { hostname, ...options }: SyslogSurroundings): Notifier {
  const { host, port, transport, facility, maxBytes, timeoutSeconds, caFile } = route;
  const receiver = { host, port, transport, timeoutMs: timeoutSeconds * 1000, ca: caFile === undefined ? undefined : readFileSync(caFile, "utf8") };
  return {
    route: route.name,
    type: "syslog",
    async notify(notification, signal) {
      const { alerts, createdAtMs } = notification;
      const frames = alerts.map((alert) => {
        const header = { facility, severity: alert.severity, atMs: createdAtMs, hostname, messageId: alert.status };
        return syslogFrame(header, detectionFinding(alert, notification, options), maxBytes);
      });
      await sendFrames(receiver, frames.join(""), signal);
      return `${alerts.length} messages read by ${host}:${port}, which ended the connection`;
    },
  };
}
