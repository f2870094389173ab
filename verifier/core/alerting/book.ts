/** Which alerts are open and what of them each route has been told. Plans are pure; the book moves on only when a plan is durable. */
import { hash } from "node:crypto";
import type { AlertEvent, AlertNotification } from "../../ports/notifier.ts";
import type { AlertCommit, AlertMember, AlertRecord, StoredAlert } from "../../ports/outbox.ts";
import { type Decided, REOPEN_WINDOW_MS } from "../incident/incident.ts";
import { severityRank } from "../policy/kinds.ts";
import type { AlertGroupLabel, AlertMatch, AlertRoute } from "../policy/types.ts";
import { eventOf, kindOf } from "./event.ts";
import { takes } from "./match.ts";
import { AlertChange, type HeldAlert, type KeptAlert } from "./record.ts";
import { restated, type Standing } from "./restate.ts";
import { type AlertSubject, alertFingerprint, crowdOf, stormFingerprint } from "./subject.ts";

/** Open alerts of one crowd ({@link crowdOf}), above which further ones share a single alert: a flood of files must not be a flood of pages. */
export const MAX_ALERTS_PER_CROWD = 50;
/** Alerts in one notification. */
export const MAX_ALERTS_PER_NOTIFICATION = 100;
/** Alerts of incidents that are over, and remembered in case they return; of more, those that ended first are forgotten. */
export const MAX_REMEMBERED_ALERTS = 1024;

export interface AlertPlan {
  readonly commit: AlertCommit;
  /** Ids of drifts of which people know with this plan: a receiver has taken their alert. */
  readonly told: readonly string[];
  /** Route → times of its notifications within the last minute, this plan's included. */
  readonly sentAtMs: ReadonlyMap<string, readonly number[]>;
  /** Route → alerts that wait for the rate limit. */
  readonly waiting: ReadonlyMap<string, number>;
  readonly plannedAtMs: number;
}

interface Due {
  readonly record: AlertRecord;
  readonly event: AlertEvent;
}

interface Kept extends KeptAlert {
  readonly members: Map<string, AlertMember>;
  readonly refusedBy: Set<AlertMatch>;
}

export class AlertBook {
  readonly #alerts = new Map<string, Kept>();
  /** Crowd → how many alerts of it are open. */
  readonly #crowds = new Map<string, number>();
  /** Drift id → fingerprint of the alert that it holds open. */
  readonly #holders = new Map<string, string>();
  #sentAtMs: ReadonlyMap<string, readonly number[]> = new Map();
  #waiting: ReadonlyMap<string, number> = new Map();
  /** Those of the last plan, for which {@link Kept.refusedBy} was found. */
  #routes: readonly AlertRoute[] = [];
  #plannedAtMs = 0;
  #version = 0;

  readonly #decided: (incident: string) => Decided | undefined;

  /** @param alerts as the outbox remembers them @param decided what people decided, by incident id */
  constructor(alerts: readonly StoredAlert[] = [], decided: (incident: string) => Decided | undefined = () => undefined) {
    this.#decided = decided;
    for (const { record, members } of alerts) {
      this.#put(record);
      for (const member of members) this.#join(record.fingerprint, member);
      this.#plannedAtMs = Math.max(this.#plannedAtMs, newestMs(record));
    }
  }

  /** How many alerts are open. */
  get size(): number {
    return [...this.#alerts.values()].filter(({ members }) => members.size > 0).length;
  }

  /** Another number whenever an alert or its members have changed. */
  get version(): number {
    return this.#version;
  }

  /** Every alert, in no particular order; those that are over and remembered have no members. */
  alerts(): IterableIterator<KeptAlert> {
    return this.#alerts.values();
  }

  /** undefined: it is over, and not remembered. */
  held(fingerprint: string): KeptAlert | undefined {
    return this.#alerts.get(fingerprint);
  }

  /** Fingerprint of the alert that a drift holds open. */
  holderOf(driftId: string): string | undefined {
    return this.#holders.get(driftId);
  }

  /** Ids of the drifts and states that hold an alert open. */
  heldIds(): IterableIterator<string> {
    return this.#holders.keys();
  }

  /** Whether a receiver has taken the alert of this drift. */
  isTold(driftId: string): boolean {
    return this.#alerts.get(this.#holders.get(driftId) ?? "")?.record.deliveredAtMs !== undefined;
  }

  /**
   * What to store and to send, given what changed. Call it with no subjects on a timer too (each second is enough): group waits, repeats and the rate limit pass with time.
   * Within one plan the last word on a drift id counts.
   * @param delivered fingerprints of alerts that a receiver has just taken, firing
   * @param deadLetters that are to be tried again: in the place of each comes a notification of how its alerts stand now
   * @param renewed fingerprints of open alerts of which there is news that no drift tells
   */
  plan(
    subjects: readonly AlertSubject[],
    routes: readonly AlertRoute[],
    nowMs: number,
    delivered: readonly string[] = [],
    deadLetters: readonly AlertNotification[] = [],
    renewed: readonly string[] = [],
  ): AlertPlan {
    if (routes !== this.#routes) for (const { refusedBy } of this.#alerts.values()) refusedBy.clear();
    this.#routes = routes;
    const changes = new Map<string, AlertChange>();
    const opened = new Map<string, number>();
    const back = nowMs < this.#plannedAtMs;
    if (back) for (const { record } of this.#alerts.values()) if (newestMs(record) > nowMs) this.#change(record.fingerprint, changes).rebase(nowMs);
    for (const subject of new Map(subjects.map((each) => [each.driftId, each])).values()) this.#take(subject, changes, opened);
    for (const change of changes.values()) change.settle(nowMs);
    for (const fingerprint of renewed) if (this.#isOpen(fingerprint, changes)) this.#change(fingerprint, changes).renew(nowMs);
    for (const fingerprint of delivered) if (this.#alerts.has(fingerprint)) this.#change(fingerprint, changes).deliver(nowMs);
    const told = [...changes.values()].flatMap((change) => change.toldOf());
    const standingOf = (fingerprint: string): Standing => {
      const { held } = changes.get(fingerprint) ?? { held: this.#alerts.get(fingerprint) };
      return { held, owner: held ? this.#ownerOf(held.record) : "" };
    };
    const retold = deadLetters.map((dead) => restated(dead, standingOf, nowMs));
    const sent = this.#send(changes, routes, nowMs);
    const removals = this.#forgotten(changes, routes, nowMs);
    const kept = [...changes.values()].filter(({ fingerprint }) => !removals.includes(fingerprint));
    const commit = {
      upserts: kept.flatMap(({ altered }) => altered ?? []),
      removals,
      left: [...changes.values()].flatMap(({ left }) => [...left]),
      joined: kept.flatMap(({ fingerprint, joined }) => [...joined].map((member) => ({ fingerprint, member }))),
      notifications: [...retold, ...sent.notifications],
      replaced: deadLetters.map(({ id }) => id),
    };
    return { commit, told, sentAtMs: sent.sentAtMs, waiting: sent.waiting, plannedAtMs: nowMs };
  }

  /** Takes over a plan once its commit is durable. Plans are made and applied one at a time. */
  apply({ commit: { upserts, removals, left, joined }, sentAtMs, waiting, plannedAtMs }: AlertPlan): void {
    for (const record of upserts) this.#put(record);
    for (const id of left) this.#leave(id);
    for (const { fingerprint, member } of joined) this.#join(fingerprint, member);
    for (const fingerprint of removals) this.#alerts.delete(fingerprint);
    if (upserts.length + removals.length + left.length + joined.length > 0) this.#version++;
    this.#sentAtMs = sentAtMs;
    this.#waiting = waiting;
    this.#plannedAtMs = plannedAtMs;
  }

  /** Every open alert that a route has been told, again, as it stands: for receivers that forget (Alertmanager after a restart). Not for the outbox: the next one replaces it. */
  refresh(route: AlertRoute, nowMs: number): AlertNotification[] {
    const due = [...this.#alerts.values()].flatMap(({ record, members }): Due[] => {
      const told = record.told[route.name];
      return members.size > 0 && told ? [{ record, event: eventOf(record, members.values(), told.severities, { owner: this.#ownerOf(record) }) }] : [];
    });
    return groupAlerts(route, due).map((group) => notificationOf(route.name, group, { suppressed: 0, waiting: 0 }, nowMs));
  }

  /** @param opened crowd → how many of its alerts open with this plan */
  #take(subject: AlertSubject, changes: Map<string, AlertChange>, opened: Map<string, number>): void {
    const own = alertFingerprint(subject);
    const holder = this.#holders.get(subject.driftId);
    const held = holder === undefined ? undefined : this.#alerts.get(holder);
    const opens = subject.state === "open" || subject.state === "acknowledged";
    // A drift whose kind has changed is another incident to every receiver: the one that it held open has it no more.
    const stays = held !== undefined && (held.record.storm || (subject.incident ? held.record.shown.incident === subject.incident : holder === own));
    if (held && !(opens && stays)) this.#change(held.record.fingerprint, changes).leave(subject.driftId);
    if (!opens) return;
    const [target, storm] = stays ? [held.record.fingerprint, held.record.storm] : this.#target(subject, own, changes, opened);
    this.#change(target, changes, storm).join(subject);
  }

  /** Which alert it is to hold open: its own, or where its crowd has too many, the one that stands for the rest. */
  #target(subject: AlertSubject, own: string, changes: ReadonlyMap<string, AlertChange>, opened: Map<string, number>): [fingerprint: string, storm: boolean] {
    if (this.#isOpen(own, changes)) return [own, false];
    const crowd = crowdOf(subject);
    const opening = opened.get(crowd) ?? 0;
    if ((this.#crowds.get(crowd) ?? 0) + opening >= MAX_ALERTS_PER_CROWD) return [stormFingerprint(crowd), true];
    opened.set(crowd, opening + 1);
    return [own, false];
  }

  #change(fingerprint: string, changes: Map<string, AlertChange>, storm = false): AlertChange {
    const before = this.#alerts.get(fingerprint);
    const change = changes.get(fingerprint) ?? new AlertChange(fingerprint, before, before?.record.storm ?? storm, this.#isDone(before?.record));
    changes.set(fingerprint, change);
    return change;
  }

  /** Somebody has said so since it was over. */
  #isDone(record: AlertRecord | undefined): boolean {
    const closed = record && this.#decided(record.shown.incident)?.closed;
    return closed !== undefined && record?.endedAtMs !== undefined && closed.atMs >= record.endedAtMs;
  }

  /** Whom it was given to, since it began; empty: nobody. */
  #ownerOf({ shown, storm, reopened, startsAtMs }: AlertRecord): string {
    const assigned = storm ? undefined : this.#decided(shown.incident)?.assigned;
    return assigned && (reopened > 0 || assigned.atMs >= startsAtMs) ? assigned.owner : "";
  }

  #isOpen(fingerprint: string, changes: ReadonlyMap<string, AlertChange>): boolean {
    return changes.get(fingerprint)?.open ?? (this.#alerts.get(fingerprint)?.members.size ?? 0) > 0;
  }

  #send(
    changes: Map<string, AlertChange>,
    routes: readonly AlertRoute[],
    nowMs: number,
  ): Pick<AlertPlan, "sentAtMs" | "waiting"> & Pick<AlertCommit, "notifications"> {
    const sentAtMs = new Map<string, readonly number[]>();
    const waiting = new Map<string, number>();
    const notifications: AlertNotification[] = [];
    for (const route of routes) {
      const due = this.#due(route, changes, nowMs);
      // What was sent later than now was so before the clock was set back.
      const recent = (this.#sentAtMs.get(route.name) ?? []).filter((at) => at > nowMs - 60_000 && at <= nowMs);
      const groups = withinLimit(route, groupAlerts(route, due), Math.max(0, route.maxPerMinute - recent.length));
      const held = due.length - groups.reduce((sum, { alerts }) => sum + alerts.length, 0);
      for (const [i, group] of groups.entries()) {
        const limited = { suppressed: i === 0 ? (this.#waiting.get(route.name) ?? 0) : 0, waiting: i === groups.length - 1 ? held : 0 };
        notifications.push(notificationOf(route.name, group, limited, nowMs));
        for (const { event } of group.alerts) this.#change(event.fingerprint, changes).tell(route.name, { acknowledged: event.acknowledged, nowMs });
      }
      sentAtMs.set(route.name, [...recent, ...groups.map(() => nowMs)]);
      waiting.set(route.name, held);
    }
    return { sentAtMs, waiting, notifications };
  }

  #due(route: AlertRoute, changes: ReadonlyMap<string, AlertChange>, nowMs: number): Due[] {
    const due: HeldAlert[] = [];
    for (const held of this.#all(changes))
      if ((owes(route, held) && this.#takes(route, held)) || owesAcknowledgement(route, held) || repeats(route, held, nowMs)) due.push(held);
    const gathered = due.some(({ record }) => nowMs - (record.endedAtMs ?? record.newsAtMs) >= route.groupWaitSeconds * 1000);
    if (!gathered) return [];
    return due.map((held) => {
      const { record, members } = held;
      const known = record.told[route.name]?.severities ?? [];
      const severities = record.endedAtMs === undefined ? [...known, record.severity] : known;
      const said = { acknowledged: owesAcknowledgement(route, held), owner: this.#ownerOf(record) };
      return { record, event: eventOf(record, members.values(), severities, said) };
    });
  }

  /** The end of an alert goes to whoever was told of it. */
  #takes({ type, match }: AlertRoute, held: HeldAlert): boolean {
    const { record, members, refusedBy, newcomers } = held;
    if (members.size === 0) return true;
    // Whoever asked for it was told: nobody is paged, unless a route names it.
    if (kindOf(record) === "refused" && type !== "commit-status" && !match.kinds.includes("refused")) return false;
    if (refusedBy.has(match)) return takes(match, kindOf(record), newcomers());
    const fits = takes(match, kindOf(record), members.values());
    const kept = this.#alerts.get(record.fingerprint);
    if (!fits && kept === held) kept.refusedBy.add(match);
    return fits;
  }

  *#all(changes: ReadonlyMap<string, AlertChange>): Generator<HeldAlert> {
    for (const [fingerprint, held] of this.#alerts) if (!changes.has(fingerprint)) yield held;
    for (const { held } of changes.values()) if (held) yield held;
  }

  /** Alerts that are over and told, unless their incident may still return. */
  #forgotten(changes: ReadonlyMap<string, AlertChange>, routes: readonly AlertRoute[], nowMs: number): string[] {
    const forgotten: string[] = [];
    const remembered: AlertRecord[] = [];
    for (const held of this.#all(changes)) {
      const { record, members } = held;
      if (members.size > 0 || routes.some((route) => owes(route, held))) continue;
      if (record.shown.incident && !record.storm && nowMs - (record.endedAtMs ?? 0) <= REOPEN_WINDOW_MS) remembered.push(record);
      else forgotten.push(record.fingerprint);
    }
    if (remembered.length <= MAX_REMEMBERED_ALERTS) return forgotten;
    const newest = remembered.sort((a, b) => (b.endedAtMs ?? 0) - (a.endedAtMs ?? 0));
    return [...forgotten, ...newest.slice(MAX_REMEMBERED_ALERTS).map(({ fingerprint }) => fingerprint)];
  }

  #put(record: AlertRecord): void {
    const before = this.#alerts.get(record.fingerprint);
    const { members = new Map<string, AlertMember>(), refusedBy = new Set<AlertMatch>(), unacknowledged = 0 } = before ?? {};
    this.#alerts.set(record.fingerprint, { record, members, unacknowledged, refusedBy, newcomers: () => [] });
  }

  #join(fingerprint: string, member: AlertMember): void {
    const { driftId } = member;
    if (this.#holders.get(driftId) !== fingerprint) this.#leave(driftId);
    const held = this.#alerts.get(fingerprint);
    if (!held) return;
    const before = held.members.get(driftId);
    if (held.members.size === 0) this.#count(held.record, 1);
    held.members.set(driftId, member);
    for (const match of held.refusedBy) if (takes(match, kindOf(held.record), [member])) held.refusedBy.delete(match);
    this.#holders.set(driftId, fingerprint);
    const unacknowledged = held.unacknowledged + Number(!member.acknowledged) - Number(before?.acknowledged === false);
    this.#alerts.set(fingerprint, { ...held, unacknowledged });
  }

  #leave(driftId: string): void {
    const fingerprint = this.#holders.get(driftId) ?? "";
    const held = this.#alerts.get(fingerprint);
    const member = held?.members.get(driftId);
    if (!held || !member) return;
    held.members.delete(driftId);
    this.#holders.delete(driftId);
    this.#alerts.set(fingerprint, { ...held, unacknowledged: held.unacknowledged - Number(!member.acknowledged) });
    if (held.members.size === 0) this.#count(held.record, -1);
  }

  #count({ storm, shown }: AlertRecord, step: 1 | -1): void {
    if (storm) return;
    const crowd = crowdOf(shown);
    const count = (this.#crowds.get(crowd) ?? 0) + step;
    if (count > 0) this.#crowds.set(crowd, count);
    else this.#crowds.delete(crowd);
  }
}

/** Is there something that the route should know and does not, if it takes the alert? */
function owes(route: AlertRoute, { record, members }: HeldAlert): boolean {
  const known = record.told[route.name];
  if (members.size === 0) return known !== undefined;
  return (known === undefined || known.news < record.news) && severityRank(record.severity) >= severityRank(route.minSeverity);
}

/** PagerDuty calls on until somebody takes it: whoever has acknowledged it here need not do so there. News is told before that. */
function owesAcknowledgement(route: AlertRoute, { record, members, unacknowledged }: HeldAlert): boolean {
  const known = record.told[route.name];
  return route.type === "pagerduty" && members.size > 0 && unacknowledged === 0 && known !== undefined && known.news === record.news && !known.acknowledged;
}

function repeats(route: AlertRoute, { record, members, unacknowledged }: HeldAlert, nowMs: number): boolean {
  const last = record.told[route.name];
  if (route.repeatSeconds === undefined || last === undefined || unacknowledged === 0 || members.size === 0) return false;
  return nowMs - last.atMs >= route.repeatSeconds * 1000;
}

function newestMs({ newsAtMs, endedAtMs = 0, told }: AlertRecord): number {
  return Math.max(newsAtMs, endedAtMs, ...Object.values(told).map(({ atMs }) => atMs));
}

interface Group {
  readonly key: string;
  readonly alerts: readonly Due[];
}

function groupAlerts(route: AlertRoute, due: readonly Due[]): Group[] {
  const groups = Map.groupBy(due, ({ event }) => route.groupBy.map((label: AlertGroupLabel) => `${label}=${event[label] ?? ""}`).join(","));
  return [...groups].flatMap(([key, members]) => {
    const parts: Group[] = [];
    for (let at = 0; at < members.length; at += MAX_ALERTS_PER_NOTIFICATION) parts.push({ key, alerts: members.slice(at, at + MAX_ALERTS_PER_NOTIFICATION) });
    return parts;
  });
}

/** That actions are held back is one alert, however many are: it waits behind none of those that tell why. */
function isBreaker({ alerts }: Group): boolean {
  return alerts.some(({ event }) => event.kind === "breaker");
}

/**
 * As many groups as may be sent, the gravest first, and the breaker's in any case, before them. What is too much for the last of them is gathered in it, so that whoever
 * reads it knows of all that there is; PagerDuty calls for each alert, not for each delivery, so there the rest waits.
 */
function withinLimit(route: AlertRoute, groups: readonly Group[], slots: number): Group[] {
  const others = groups.filter((group) => !isBreaker(group));
  return [...groups.filter(isBreaker), ...gravestFirst(route, others, slots)];
}

function gravestFirst(route: AlertRoute, groups: readonly Group[], slots: number): Group[] {
  if (groups.length <= slots) return [...groups];
  const gravest = ({ alerts }: Group) => Math.max(...alerts.map(({ event }) => severityRank(event.severity)));
  const ordered = groups.toSorted((a, b) => gravest(b) - gravest(a));
  if (slots === 0 || route.type === "pagerduty") return ordered.slice(0, slots);
  const rest = ordered.slice(slots - 1).flatMap(({ alerts }) => alerts);
  const gathered = rest.toSorted((a, b) => severityRank(b.event.severity) - severityRank(a.event.severity)).slice(0, MAX_ALERTS_PER_NOTIFICATION);
  return [...ordered.slice(0, slots - 1), { key: "", alerts: gathered }];
}

function notificationOf(
  route: string,
  { key: groupKey, alerts: due }: Group,
  limited: Pick<AlertNotification, "suppressed" | "waiting">,
  nowMs: number,
): AlertNotification {
  const alerts = due.map(({ event }) => event);
  const told = due.map(({ record, event }) => [record.fingerprint, event.status, record.news, event.acknowledged]);
  const id = hash("sha256", JSON.stringify([route, groupKey, nowMs, told])).slice(0, 32);
  return { id, route, groupKey, alerts, ...limited, createdAtMs: nowMs };
}
