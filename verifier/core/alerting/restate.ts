/** A dead letter that is tried again says how things stand now: what it said once may be over, or may have returned, and receivers take the last word. */
import { hash } from "node:crypto";
import type { AlertEvent, AlertNotification } from "../../ports/notifier.ts";
import { eventOf } from "./event.ts";
import type { HeldAlert } from "./record.ts";

/** @param heldOf what is known of an alert, by fingerprint; undefined: forgotten, since it is over @returns a new notification for the same route */
export function restated(dead: AlertNotification, heldOf: (fingerprint: string) => HeldAlert | undefined, nowMs: number): AlertNotification {
  const alerts = dead.alerts.map((alert) => restatedAlert(alert, dead.route, heldOf(alert.fingerprint), nowMs));
  return { ...dead, id: hash("sha256", `hullmark-retold ${dead.id} ${nowMs}`).slice(0, 32), alerts, suppressed: 0, waiting: 0, createdAtMs: nowMs };
}

/** It fires where it is open and the route was told so. */
function restatedAlert(alert: AlertEvent, route: string, held: HeldAlert | undefined, nowMs: number): AlertEvent {
  const told = held?.record.told[route];
  if (held && told && held.members.size > 0)
    return eventOf(held.record, held.members.values(), told.severities, alert.acknowledged && told.acknowledged === true);
  const endsAtMs = Math.max(alert.endsAtMs ?? held?.record.endedAtMs ?? nowMs, alert.startsAtMs);
  return { ...alert, status: "resolved", acknowledged: false, endsAtMs };
}
