/** Alert records and outgoing notifications. Synchronous; runs in the store's threads. */

import type { AlertNotification, AlertSeverity } from "../../ports/notifier.ts";
import {
  type AlertCommit,
  type AlertMember,
  type AlertRecord,
  KEPT_DEAD,
  KEPT_DELIVERED,
  KEPT_DELIVERED_MS,
  MAX_WAIT_MS,
  type OutboxCounts,
  type OutboxEntry,
  type OutboxItem,
  type OutboxState,
  type StoredAlert,
} from "../../ports/outbox.ts";
import type { Connection } from "./database.ts";
import { fromJson, toJson } from "./json.ts";

interface Row {
  readonly id: string;
  readonly body: string;
  readonly attempts: number;
  readonly not_before_ms: number;
  readonly last_error: string | null;
}

const COLUMNS = "id, body, attempts, not_before_ms, last_error";

function itemOf(row: Row): OutboxItem {
  return { notification: fromJson(row.body), attempts: row.attempts, notBeforeMs: row.not_before_ms, lastError: row.last_error ?? undefined };
}

/** By the number in the column `state`. */
const STATES: readonly OutboxState[] = ["pending", "dead", "delivered"];
/** Read by the database, not by us: a notification is up to some 500 kB, and a list has many. */
const GRAVEST = "FROM json_each(body, '$.alerts') ORDER BY instr('info low medium high critical', value ->> '$.severity') DESC LIMIT 1";
const ENTRY_COLUMNS = `id, route, state, created_ms, attempts, not_before_ms, last_error, ended_ms,
  (SELECT value ->> '$.severity' ${GRAVEST}) AS severity, (SELECT value ->> '$.summary' ${GRAVEST}) AS summary, json_array_length(body, '$.alerts') AS alerts,
  (SELECT count(*) FROM json_each(body, '$.alerts') WHERE value ->> '$.status' = 'firing') AS firing`;

interface EntryRow extends Omit<Row, "body"> {
  readonly route: string;
  readonly state: number;
  readonly created_ms: number;
  readonly ended_ms: number | null;
  readonly severity: AlertSeverity;
  readonly summary: string;
  readonly alerts: number;
  readonly firing: number;
}

function entryOf(row: EntryRow): OutboxEntry {
  const { id, route, severity, summary, firing, attempts } = row;
  return {
    ...{ id, route, severity, summary, firing, attempts, resolved: row.alerts - firing, state: STATES[row.state] ?? "pending" },
    ...{ createdAtMs: row.created_ms, notBeforeMs: row.not_before_ms, lastError: row.last_error ?? undefined, endedAtMs: row.ended_ms ?? undefined },
  };
}

export class OutboxTable {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  readAlerts(): StoredAlert[] {
    const rows = this.#connection.prepare<[], { fingerprint: string; body: string }>("SELECT fingerprint, body FROM alert_members ORDER BY number").all();
    const members = Map.groupBy(rows, ({ fingerprint }) => fingerprint);
    return this.#connection
      .prepare<[], { body: string }>("SELECT body FROM alerts")
      .all()
      .map(({ body }) => fromJson<AlertRecord>(body))
      .map((record) => ({ record, members: (members.get(record.fingerprint) ?? []).map((row) => fromJson<AlertMember>(row.body)) }));
  }

  /** Within the caller's transaction. */
  commit({ upserts, removals, left, joined, notifications, replaced = [] }: AlertCommit): void {
    const put = this.#connection.prepare("INSERT OR REPLACE INTO alerts (fingerprint, body) VALUES (?, ?)");
    for (const record of upserts) put.run(record.fingerprint, toJson(record));
    const remove = this.#connection.prepare("DELETE FROM alerts WHERE fingerprint = ?");
    for (const fingerprint of removals) remove.run(fingerprint);
    const empty = this.#connection.prepare("DELETE FROM alert_members WHERE fingerprint = ?");
    for (const fingerprint of removals) empty.run(fingerprint);
    const leave = this.#connection.prepare("DELETE FROM alert_members WHERE drift_id = ?");
    for (const driftId of left) leave.run(driftId);
    const join = this.#connection.prepare(
      "INSERT INTO alert_members (drift_id, fingerprint, body) VALUES (?, ?, ?) ON CONFLICT (drift_id) DO UPDATE SET fingerprint = excluded.fingerprint, body = excluded.body",
    );
    for (const { fingerprint, member } of joined) join.run(member.driftId, fingerprint, toJson(member));
    const replace = this.#connection.prepare("DELETE FROM outbox WHERE id = ? AND state = 1");
    for (const id of replaced) replace.run(id);
    const send = this.#connection.prepare(
      "INSERT INTO outbox (id, route, created_ms, attempts, not_before_ms, last_error, state, body) VALUES (?, ?, ?, 0, ?, NULL, 0, ?) ON CONFLICT (id) DO NOTHING",
    );
    for (const each of notifications) send.run(each.id, each.route, each.createdAtMs, each.createdAtMs, toJson(each));
  }

  /** What a process held that is gone: this database has one at a time. */
  release(): void {
    this.#connection.prepare("UPDATE outbox SET claimed_until_ms = 0 WHERE claimed_until_ms > 0").run();
  }

  claim(route: string, nowMs: number, limit: number, leaseMs: number): OutboxItem[] {
    const hide = this.#connection.prepare("UPDATE outbox SET claimed_until_ms = ? WHERE number = ?");
    const read = this.#connection.prepare<[number], Row>(`SELECT ${COLUMNS} FROM outbox WHERE number = ?`);
    return this.#dueInOrder(route, nowMs, limit).flatMap((number) => {
      hide.run(nowMs + leaseMs, number);
      const row = read.get(number);
      return row ? [itemOf(row)] : [];
    });
  }

  unclaim(ids: readonly string[]): void {
    const show = this.#connection.prepare("UPDATE outbox SET claimed_until_ms = 0 WHERE id = ?");
    for (const id of ids) show.run(id);
  }

  #dueInOrder(route: string, nowMs: number, limit: number): number[] {
    const pending = this.#connection.prepare<[number, number, string], { number: number; due: number; alerts: string }>(
      `SELECT number, NOT max(not_before_ms, claimed_until_ms) BETWEEN ? AND ? AS due,
         (SELECT json_group_array(fingerprint) FROM outbox_alerts WHERE outbox_alerts.number = outbox.number) AS alerts
       FROM outbox WHERE state = 0 AND route = ? ORDER BY number`,
    );
    const due: number[] = [];
    const held = new Set<string>();
    for (const row of pending.iterate(nowMs + 1, nowMs + MAX_WAIT_MS, route)) {
      const alerts = JSON.parse(row.alerts) as string[];
      if (row.due && !alerts.some((fingerprint) => held.has(fingerprint))) due.push(row.number);
      else for (const fingerprint of alerts) held.add(fingerprint);
      if (due.length === limit) break;
    }
    return due;
  }

  delivered(id: string, nowMs: number): void {
    this.#connection.prepare("UPDATE outbox SET state = 2, ended_ms = ?, last_error = NULL WHERE id = ?").run(nowMs, id);
    this.#connection
      .prepare(
        "DELETE FROM outbox WHERE state = 2 AND (ended_ms < ? OR number <= (SELECT number FROM outbox WHERE state = 2 ORDER BY number DESC LIMIT 1 OFFSET ?))",
      )
      .run(nowMs - KEPT_DELIVERED_MS, KEPT_DELIVERED);
  }

  retry(id: string, error: string, notBeforeMs: number): void {
    this.#connection
      .prepare("UPDATE outbox SET attempts = attempts + 1, last_error = ?, not_before_ms = ?, claimed_until_ms = 0 WHERE id = ?")
      .run(error, notBeforeMs, id);
  }

  bury(id: string, error: string, nowMs: number): void {
    this.#connection.prepare("UPDATE outbox SET attempts = attempts + 1, last_error = ?, ended_ms = ?, state = 1 WHERE id = ?").run(error, nowMs, id);
    this.#connection
      .prepare("DELETE FROM outbox WHERE state = 1 AND number <= (SELECT number FROM outbox WHERE state = 1 ORDER BY number DESC LIMIT 1 OFFSET ?)")
      .run(KEPT_DEAD);
  }

  readDead(id: string): AlertNotification | undefined {
    const row = this.#connection.prepare<[string], { body: string }>("SELECT body FROM outbox WHERE id = ? AND state = 1").get(id);
    return row && fromJson<AlertNotification>(row.body);
  }

  list({ route, state }: { readonly route: string | undefined; readonly state: OutboxState | undefined }, limit: number): OutboxEntry[] {
    const select = this.#connection.prepare<[string | null, number | null, number], EntryRow>(
      `SELECT ${ENTRY_COLUMNS} FROM outbox WHERE route = coalesce(?, route) AND state = coalesce(?, state) ORDER BY number DESC LIMIT ?`,
    );
    return select.all(route ?? null, state === undefined ? null : STATES.indexOf(state), limit).map(entryOf);
  }

  revive(id: string, nowMs: number): boolean {
    const due = "UPDATE outbox SET attempts = 0, not_before_ms = ?, claimed_until_ms = 0 WHERE id = ? AND state = 0";
    return this.#connection.prepare(due).run(nowMs, id).changes > 0;
  }

  counts(): OutboxCounts {
    const select = this.#connection.prepare<[], { pending: number; dead: number; oldest: number | null }>(
      "SELECT count(*) FILTER (WHERE state = 0) AS pending, count(*) FILTER (WHERE state = 1) AS dead, min(created_ms) FILTER (WHERE state = 0) AS oldest FROM outbox",
    );
    const row = select.get();
    return { pending: row?.pending ?? 0, dead: row?.dead ?? 0, oldestPendingAtMs: row?.oldest ?? undefined };
  }
}
