/** A dead letter that is tried again says how things stand now: what it said once may be over, or may have returned, and receivers take the last word. */
import { hash } from "node:crypto";
import type { AlertEvent, AlertNotification } from "../../ports/notifier.ts";
import { eventOf } from "./event.ts";
import type { HeldAlert } from "./record.ts";

/** What is known of an alert; without `held` it is forgotten, since it is over. */
export interface Standing {
  readonly held: HeldAlert | undefined;
  readonly owner: string;
}

/** @param standingOf by fingerprint @returns a new notification for the same route */
export function restated(dead: AlertNotification, standingOf: (fingerprint: string) => Standing, nowMs: number): AlertNotification {
  const alerts = dead.alerts.map((alert) => restatedAlert(alert, dead.route, standingOf(alert.fingerprint), nowMs));
  return { ...dead, id: hash("sha256", `hullmark-retold ${dead.id} ${nowMs}`).slice(0, 32), alerts, suppressed: 0, waiting: 0, createdAtMs: nowMs };
}

/** It fires where it is open and the route was told so. */
function restatedAlert(alert: AlertEvent, route: string, { held, owner }: Standing, nowMs: number): AlertEvent {
  const told = held?.record.told[route];
  if (held && told && held.members.size > 0)
    return eventOf(held.record, held.members.values(), told.severities, { acknowledged: alert.acknowledged && told.acknowledged === true, owner });
  const endsAtMs = Math.max(alert.endsAtMs ?? held?.record.endedAtMs ?? nowMs, alert.startsAtMs);
  return { ...alert, status: "resolved", acknowledged: false, endsAtMs };
}
