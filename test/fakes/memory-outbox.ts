/** An outbox in memory with the promises of the port. */
import { SEVERITIES } from "@hullmark/verifier/core/policy/kinds";
import type { AlertNotification } from "@hullmark/verifier/ports/notifier";
import {
  type AlertCommit,
  type AlertMember,
  type AlertRecord,
  KEPT_DEAD,
  KEPT_DELIVERED,
  KEPT_DELIVERED_MS,
  MAX_WAIT_MS,
  type Outbox,
  type OutboxCounts,
  type OutboxEntry,
  type OutboxItem,
  type OutboxState,
  type StoredAlert,
} from "@hullmark/verifier/ports/outbox";

interface Row extends OutboxItem {
  readonly state: OutboxState;
  readonly endedAtMs: number | undefined;
  readonly hiddenUntilMs: number;
}

export class MemoryOutbox implements Outbox {
  readonly alerts = new Map<string, AlertRecord>();
  readonly members = new Map<string, { readonly fingerprint: string; readonly member: AlertMember }>();
  readonly rows = new Map<string, Row>();

  async readAlerts(): Promise<readonly StoredAlert[]> {
    const members = Map.groupBy(this.members.values(), ({ fingerprint }) => fingerprint);
    return [...this.alerts.values()].map((record) => ({ record, members: (members.get(record.fingerprint) ?? []).map(({ member }) => member) }));
  }

  async commitAlerts({ upserts, removals, left, joined, notifications, replaced = [] }: AlertCommit): Promise<void> {
    for (const id of replaced) if (this.rows.get(id)?.state === "dead") this.rows.delete(id);
    for (const record of upserts) this.alerts.set(record.fingerprint, record);
    for (const fingerprint of removals) this.alerts.delete(fingerprint);
    for (const [id, { fingerprint }] of this.members) if (removals.includes(fingerprint) || left.includes(id)) this.members.delete(id);
    for (const each of joined) this.members.set(each.member.driftId, each);
    for (const notification of notifications) if (!this.rows.has(notification.id)) this.rows.set(notification.id, fresh(notification, 0));
  }

  async claim(route: string, nowMs: number, limit: number, leaseMs: number): Promise<readonly OutboxItem[]> {
    const pending = [...this.rows.values()].filter(({ state, notification }) => state === "pending" && notification.route === route);
    const held = new Set<string>();
    const due: Row[] = [];
    for (const row of pending) {
      const fingerprints = row.notification.alerts.map(({ fingerprint }) => fingerprint);
      const isDue = [row.notBeforeMs, row.hiddenUntilMs].every((atMs) => atMs <= nowMs || atMs > nowMs + MAX_WAIT_MS);
      if (isDue && due.length < limit && !fingerprints.some((each) => held.has(each))) due.push(row);
      else for (const each of fingerprints) held.add(each);
    }
    for (const row of due) this.rows.set(row.notification.id, { ...row, hiddenUntilMs: nowMs + leaseMs });
    return due.map(item);
  }

  async unclaim(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      const row = this.rows.get(id);
      if (row) this.rows.set(id, { ...row, hiddenUntilMs: 0 });
    }
  }

  async delivered(id: string, nowMs: number): Promise<void> {
    const row = this.rows.get(id);
    if (row) this.rows.set(id, { ...row, state: "delivered", lastError: undefined, endedAtMs: nowMs });
    const delivered = [...this.rows.values()].filter(({ state }) => state === "delivered");
    for (const [i, { notification, endedAtMs }] of delivered.toReversed().entries())
      if (i >= KEPT_DELIVERED || (endedAtMs ?? 0) < nowMs - KEPT_DELIVERED_MS) this.rows.delete(notification.id);
  }

  async retry(id: string, error: string, notBeforeMs: number): Promise<void> {
    const row = this.rows.get(id);
    if (row) this.rows.set(id, { ...row, attempts: row.attempts + 1, lastError: error, notBeforeMs, hiddenUntilMs: 0 });
  }

  async bury(id: string, error: string, nowMs: number): Promise<void> {
    const row = this.rows.get(id);
    if (row) this.rows.set(id, { ...row, attempts: row.attempts + 1, lastError: error, state: "dead", endedAtMs: nowMs });
    const dead = [...this.rows.values()].filter(({ state }) => state === "dead");
    for (const { notification } of dead.toReversed().slice(KEPT_DEAD)) this.rows.delete(notification.id);
  }

  async list({ route, state }: Parameters<Outbox["list"]>[0], limit: number): Promise<readonly OutboxEntry[]> {
    const rows = [...this.rows.values()].filter((row) => (route ?? row.notification.route) === row.notification.route && (state ?? row.state) === row.state);
    return rows.toReversed().slice(0, limit).map(entry);
  }

  async readDead(id: string): Promise<AlertNotification | undefined> {
    const row = this.rows.get(id);
    return row?.state === "dead" ? row.notification : undefined;
  }

  async revive(id: string, nowMs: number): Promise<boolean> {
    const row = this.rows.get(id);
    if (row?.state !== "pending") return false;
    this.rows.set(id, fresh(row.notification, nowMs));
    return true;
  }

  async counts(): Promise<OutboxCounts> {
    const pending = [...this.rows.values()].filter(({ state }) => state === "pending");
    const times = pending.map(({ notification }) => notification.createdAtMs);
    return {
      pending: pending.length,
      dead: [...this.rows.values()].filter(({ state }) => state === "dead").length,
      oldestPendingAtMs: times.length > 0 ? Math.min(...times) : undefined,
    };
  }
}

function fresh(notification: AlertNotification, notBeforeMs: number): Row {
  return { notification, attempts: 0, notBeforeMs, lastError: undefined, state: "pending", endedAtMs: undefined, hiddenUntilMs: 0 };
}

function item({ notification, attempts, notBeforeMs, lastError }: Row): OutboxItem {
  return { notification, attempts, notBeforeMs, lastError };
}

function entry({ notification, state, attempts, notBeforeMs, lastError, endedAtMs }: Row): OutboxEntry {
  const { id, route, createdAtMs, alerts } = notification;
  const [gravest] = alerts.toSorted((a, b) => SEVERITIES.indexOf(b.severity) - SEVERITIES.indexOf(a.severity));
  const firing = alerts.filter(({ status }) => status === "firing").length;
  return {
    ...{ id, route, state, createdAtMs, severity: gravest?.severity ?? "info", summary: gravest?.summary ?? "", firing, resolved: alerts.length - firing },
    ...{ attempts, notBeforeMs, lastError, endedAtMs },
  };
}
