/** Which alerts are open and what of them each route has been told. Plans are pure; the book moves on only when a plan is durable. */
import { hash } from "node:crypto";
import type { AlertEvent, AlertNotification, AlertSeverity } from "../../ports/notifier.ts";
import type { AlertCommit, AlertRecord } from "../../ports/outbox.ts";
import { SEVERITIES } from "../policy/kinds.ts";
import type { AlertGroupLabel, AlertRoute } from "../policy/types.ts";
import { printable } from "../text/printable.ts";
import { takes } from "./match.ts";
import { mergeSubject, releaseSubject, stormOf } from "./record.ts";
import { type AlertSubject, alertFingerprint } from "./subject.ts";

/** Open alerts of one workload on one node, above which further ones share a single alert: a flood of files must not be a flood of pages. */
export const MAX_ALERTS_PER_WORKLOAD = 50;
/** Alerts in one notification. */
export const MAX_ALERTS_PER_NOTIFICATION = 100;

export interface AlertPlan {
  readonly commit: AlertCommit;
  /** Route → times of its notifications within the last minute, this plan's included. */
  readonly sentAtMs: ReadonlyMap<string, readonly number[]>;
  /** Route → alerts that wait for the rate limit. */
  readonly waiting: ReadonlyMap<string, number>;
}

export class AlertBook {
  readonly #records: Map<string, AlertRecord>;
  /** Workload on a node → how many of its alerts are open. */
  readonly #perWorkload = new Map<string, number>();
  /** Drift id → fingerprint of the alert that it holds open. */
  readonly #holders = new Map<string, string>();
  #sentAtMs: ReadonlyMap<string, readonly number[]> = new Map();
  #waiting: ReadonlyMap<string, number> = new Map();

  /** @param records as the outbox remembers them */
  constructor(records: readonly AlertRecord[] = []) {
    this.#records = new Map(records.map((record) => [record.fingerprint, record]));
    for (const record of records) {
      this.#count(record, 1);
      this.#hold(undefined, record);
    }
  }

  get size(): number {
    return this.#records.size;
  }

  /** Open alerts, in no particular order. */
  records(): IterableIterator<AlertRecord> {
    return this.#records.values();
  }

  /**
   * What to store and to send, given what changed. Call it with no subjects on a timer too (each second is enough): group waits, repeats and the rate limit pass with time.
   * Within one plan the last word on a drift id counts.
   */
  plan(subjects: readonly AlertSubject[], routes: readonly AlertRoute[], nowMs: number): AlertPlan {
    const changed = new Map<string, AlertRecord>();
    for (const subject of new Map(subjects.map((each) => [each.driftId, each])).values()) this.#take(subject, changed, nowMs);
    const sentAtMs = new Map<string, readonly number[]>();
    const waiting = new Map<string, number>();
    const notifications: AlertNotification[] = [];
    for (const route of routes) {
      const candidates = this.#due(route, changed, nowMs);
      const recent = (this.#sentAtMs.get(route.name) ?? []).filter((at) => at > nowMs - 60_000);
      const groups = groupAlerts(route, candidates).slice(0, Math.max(0, route.maxPerMinute - recent.length));
      const held = candidates.length - groups.reduce((sum, { records }) => sum + records.length, 0);
      for (const [i, { key, records }] of groups.entries()) {
        notifications.push(notificationOf(route.name, key, records, i === 0 ? (this.#waiting.get(route.name) ?? 0) : 0, nowMs));
        for (const record of records) changed.set(record.fingerprint, told(changed.get(record.fingerprint) ?? record, route.name, nowMs));
      }
      sentAtMs.set(route.name, [...recent, ...groups.map(() => nowMs)]);
      waiting.set(route.name, held);
    }
    const finished = (record: AlertRecord) => record.openDriftIds.length === 0 && routes.every((route) => !owes(route, record));
    const removals = [...new Map([...this.#records, ...changed]).values()].filter(finished).map(({ fingerprint }) => fingerprint);
    const upserts = [...changed.values()].filter((record) => !removals.includes(record.fingerprint));
    return { commit: { upserts, removals, notifications }, sentAtMs, waiting };
  }

  /** Takes over a plan once its commit is durable. Plans are made and applied one at a time. */
  apply({ commit, sentAtMs, waiting }: AlertPlan): void {
    for (const record of commit.upserts) {
      const before = this.#records.get(record.fingerprint);
      if (!before) this.#count(record, 1);
      this.#hold(before, record);
      this.#records.set(record.fingerprint, record);
    }
    for (const fingerprint of commit.removals) {
      const record = this.#records.get(fingerprint);
      if (!record) continue;
      this.#records.delete(fingerprint);
      this.#count(record, -1);
      this.#hold(record, undefined);
    }
    this.#sentAtMs = sentAtMs;
    this.#waiting = waiting;
  }

  /** Every open alert that a route has been told, again: for receivers that forget (Alertmanager after a restart). Not for the outbox: the next one replaces it. */
  refresh(route: AlertRoute, nowMs: number): AlertNotification[] {
    const records = [...this.#records.values()].filter((record) => record.openDriftIds.length > 0 && record.notifiedAtMs[route.name] !== undefined);
    return groupAlerts(route, records).map((group) => notificationOf(route.name, group.key, group.records, 0, nowMs));
  }

  #take(subject: AlertSubject, changed: Map<string, AlertRecord>, nowMs: number): void {
    const own = alertFingerprint(subject);
    const storm = stormOf(subject);
    const look = (fingerprint: string) => changed.get(fingerprint) ?? this.#records.get(fingerprint);
    const held = look(this.#holders.get(subject.driftId) ?? "");
    const opens = subject.state === "open" || subject.state === "acknowledged";
    // A drift whose kind has changed is another alert to every receiver: the one that it held is over.
    const moves = held !== undefined && held.fingerprint !== own && held.fingerprint !== storm.fingerprint;
    if (held && (!opens || moves)) changed.set(held.fingerprint, releaseSubject(held, subject, nowMs));
    if (!opens) return;
    const crowded = (this.#perWorkload.get(workloadKey(subject)) ?? 0) + newIn(changed, this.#records, workloadKey(subject)) >= MAX_ALERTS_PER_WORKLOAD;
    const target = held && !moves ? held.fingerprint : crowded && !look(own) ? storm.fingerprint : own;
    changed.set(target, mergeSubject(look(target), target, target === storm.fingerprint && target !== own ? storm : undefined, subject, nowMs));
  }

  #hold(before: AlertRecord | undefined, after: AlertRecord | undefined): void {
    if (before) for (const id of before.openDriftIds) if (this.#holders.get(id) === before.fingerprint) this.#holders.delete(id);
    if (after) for (const id of after.openDriftIds) this.#holders.set(id, after.fingerprint);
  }

  #due(route: AlertRoute, changed: ReadonlyMap<string, AlertRecord>, nowMs: number): AlertRecord[] {
    const all = new Map([...this.#records, ...changed]);
    const due = [...all.values()].filter((record) => owes(route, record) || repeats(route, record, nowMs));
    const gathered = due.some((record) => nowMs - record.updatedAtMs >= route.groupWaitSeconds * 1000);
    return gathered ? due : [];
  }

  #count(record: AlertRecord, step: 1 | -1): void {
    const key = `${record.event.node}\n${record.event.workload}`;
    const count = (this.#perWorkload.get(key) ?? 0) + step;
    if (count > 0) this.#perWorkload.set(key, count);
    else this.#perWorkload.delete(key);
  }
}

/** Is there something that the route should know and does not? */
function owes(route: AlertRoute, record: AlertRecord): boolean {
  const known = record.notifiedSeverity[route.name];
  if (record.openDriftIds.length === 0) return known !== undefined;
  if (rank(record.event.severity) < rank(route.minSeverity) || !takes(route.match, record.event.kind, [record.event])) return false;
  return known === undefined || rank(record.event.severity) > rank(known as AlertSeverity) || (record.notifiedAtMs[route.name] ?? 0) < record.updatedAtMs;
}

function repeats(route: AlertRoute, record: AlertRecord, nowMs: number): boolean {
  const last = record.notifiedAtMs[route.name];
  if (route.repeatSeconds === undefined || last === undefined || record.acknowledged || record.openDriftIds.length === 0) return false;
  return nowMs - last >= route.repeatSeconds * 1000;
}

function told(record: AlertRecord, route: string, nowMs: number): AlertRecord {
  const { [route]: _was, ...others } = record.notifiedSeverity;
  const over = record.openDriftIds.length === 0;
  return {
    ...record,
    notifiedAtMs: { ...record.notifiedAtMs, [route]: Math.max(nowMs, record.updatedAtMs) },
    notifiedSeverity: over ? others : { ...others, [route]: record.event.severity },
  };
}

function groupAlerts(route: AlertRoute, records: readonly AlertRecord[]): { key: string; records: AlertRecord[] }[] {
  const groups = Map.groupBy(records, ({ event }) => route.groupBy.map((label: AlertGroupLabel) => `${label}=${event[label] ?? ""}`).join(","));
  return [...groups].flatMap(([key, members]) => {
    const parts: { key: string; records: AlertRecord[] }[] = [];
    for (let at = 0; at < members.length; at += MAX_ALERTS_PER_NOTIFICATION) parts.push({ key, records: members.slice(at, at + MAX_ALERTS_PER_NOTIFICATION) });
    return parts;
  });
}

function notificationOf(route: string, groupKey: string, records: readonly AlertRecord[], suppressed: number, nowMs: number): AlertNotification {
  const alerts: AlertEvent[] = records.map(({ event }) => event);
  const id = hash("sha256", JSON.stringify([route, groupKey, nowMs, alerts.map(({ fingerprint, status }) => [fingerprint, status])])).slice(0, 32);
  return { id, route, groupKey, alerts, suppressed, createdAtMs: nowMs };
}

function workloadKey(subject: AlertSubject): string {
  return `${printable(subject.nodeName, 253)}\n${printable(subject.workload, 253)}`;
}

function newIn(changed: ReadonlyMap<string, AlertRecord>, known: ReadonlyMap<string, AlertRecord>, key: string): number {
  let count = 0;
  for (const { fingerprint, event } of changed.values()) if (!known.has(fingerprint) && `${event.node}\n${event.workload}` === key) count++;
  return count;
}

export function rank(severity: AlertSeverity): number {
  return SEVERITIES.indexOf(severity);
}
