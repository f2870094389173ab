/**
 * What is still to be told, and what was told: survives a crash. Alert state and outgoing notifications are written together
 * ({@link AlertCommit}), in the transaction that commits the drift behind them, so that none is lost and none is made up.
 */
import type { AlertSubject } from "../core/alerting/subject.ts";
import type { AlertNotification, AlertSeverity } from "./notifier.ts";

/** A drift, or a state, that holds an alert open. Names are printable. */
export interface AlertMember {
  readonly driftId: string;
  readonly node: string;
  /** Empty where the node itself is meant; so is the container. */
  readonly workload: string;
  readonly container: string;
  readonly acknowledged: boolean;
}

/** What a route was told of an alert since it opened. */
export interface RouteTold {
  /** Number of the last news that it was told: {@link AlertRecord.news}. */
  readonly news: number;
  /** When that was put into a notification, Unix milliseconds. */
  readonly atMs: number;
  /** Severities under which it was told, each once, the last one last. */
  readonly severities: readonly AlertSeverity[];
  /** Since that news it was told that somebody has acknowledged all of it; undefined: no. */
  readonly acknowledged?: boolean | undefined;
}

/** One alert as remembered between transitions: what deduplication, resolving and re-notifying need, but for its members. Times are Unix milliseconds. */
export interface AlertRecord {
  readonly fingerprint: string;
  /** It stands for all beyond the limit of alerts that are like it. */
  readonly storm: boolean;
  /** Whose text the alert has: of the newest news, the gravest. */
  readonly shown: AlertSubject;
  /** Of the gravest that held it open: it rises, and never falls while the alert is open. */
  readonly severity: AlertSeverity;
  /** What identifies it to receivers and so stays as it was when it opened, printable. `node` is empty where the alert is an incident's, which is about any number of them. */
  readonly opening: { readonly node: string; readonly workload: string; readonly image: string };
  readonly startsAtMs: number;
  /** When the last member was gone; undefined while it is open. */
  readonly endedAtMs: number | undefined;
  /** How often it has returned within the window in which that is the same incident, and since when it had been over the last time. */
  readonly reopened: number;
  readonly overSinceMs: number | undefined;
  /** Counts what is to be told at once: it opened, became graver, spread or changed after it had been acknowledged. A number, since clocks are set back. */
  readonly news: number;
  readonly newsAtMs: number;
  /** By route. */
  readonly told: Readonly<Record<string, RouteTold>>;
  /** When a receiver first took it since it opened; undefined: none has. */
  readonly deliveredAtMs: number | undefined;
}

export interface StoredAlert {
  readonly record: AlertRecord;
  /** In the order in which they joined; none: it is over, and remembered. */
  readonly members: readonly AlertMember[];
}

/** Rows to write in one transaction. */
export interface AlertCommit {
  /** Insert or replace by fingerprint. */
  readonly upserts: readonly AlertRecord[];
  /** Fingerprints to delete, with their members. */
  readonly removals: readonly string[];
  /** Drift ids that hold no alert open any more. */
  readonly left: readonly string[];
  /** Insert or replace by drift id: a drift holds one alert open. */
  readonly joined: readonly { readonly fingerprint: string; readonly member: AlertMember }[];
  readonly notifications: readonly AlertNotification[];
  /** Ids of dead letters to delete: some of the notifications take their place. */
  readonly replaced?: readonly string[];
}

export interface OutboxItem {
  readonly notification: AlertNotification;
  /** Deliveries tried so far. */
  readonly attempts: number;
  /** Not before this time (Unix milliseconds). */
  readonly notBeforeMs: number;
  /** Error code and message of the last attempt; undefined before the first. */
  readonly lastError: string | undefined;
}

/** `delivered`: kept for a while, for people. `dead`: given up. */
export type OutboxState = "pending" | "delivered" | "dead";

/** An item as people look at it. */
export interface OutboxEntry {
  readonly id: string;
  readonly route: string;
  readonly state: OutboxState;
  readonly createdAtMs: number;
  /** Of its gravest alert, and that alert's line. */
  readonly severity: AlertSeverity;
  readonly summary: string;
  readonly firing: number;
  readonly resolved: number;
  readonly attempts: number;
  readonly notBeforeMs: number;
  readonly lastError: string | undefined;
  /** When it was delivered or given up; undefined while it waits, and for what was given up before this was kept. */
  readonly endedAtMs: number | undefined;
}

/** Delivered items that are kept for people, at most: the newest, and none for longer than a week. */
export const KEPT_DELIVERED = 500;
export const KEPT_DELIVERED_MS = 7 * 86_400_000;

/** Dead letters that are kept, at most: the newest. Who can have alerts come and go fills no disk with a receiver that refuses them. */
export const KEPT_DEAD = 10_000;

export interface OutboxCounts {
  readonly pending: number;
  readonly dead: number;
  /** Creation time of the oldest pending item; undefined when none is. */
  readonly oldestPendingAtMs: number | undefined;
}

/** Longer than any item waits: for its lease or for its next attempt. */
export const MAX_WAIT_MS = 600_000;

export interface Outbox {
  /** Every alert: at start. */
  readAlerts(): Promise<readonly StoredAlert[]>;
  /** Atomic and durable on return. A notification whose id is already there is ignored (idempotent). */
  commitAlerts(commit: AlertCommit): Promise<void>;
  /**
   * Takes up to `limit` items of one route that are due at `nowMs`, oldest first, and none that would overtake an earlier one of the same alert which is not due: receivers take the last word. Hides them from other claims until `nowMs + leaseMs`:
   * when the process dies in between they come back. So does, at once, what would have to wait for longer than {@link MAX_WAIT_MS}: the clock was set back meanwhile.
   */
  claim(route: string, nowMs: number, limit: number, leaseMs: number): Promise<readonly OutboxItem[]>;
  /** Gives items back as they were, due when they were due: nobody tried them. No error where one is gone already. */
  unclaim(ids: readonly string[]): Promise<void>;
  /** The item has arrived; it is kept among the newest for people to see. No error where it is gone already. */
  delivered(id: string, nowMs: number): Promise<void>;
  /** Gives an item back: one attempt more, due at `notBeforeMs`. */
  retry(id: string, error: string, notBeforeMs: number): Promise<void>;
  /** Moves an item to the dead letters, where people see it (`status`, metrics) until it is replaced or {@link KEPT_DEAD} newer ones are there. */
  bury(id: string, error: string, nowMs: number): Promise<void>;
  /** Newest first; undefined: any. */
  list(filter: { readonly route: string | undefined; readonly state: OutboxState | undefined }, limit: number): Promise<readonly OutboxEntry[]>;
  /** A dead letter as it was; undefined: there is none of that id. */
  readDead(id: string): Promise<AlertNotification | undefined>;
  /** Makes what waits due at once with no attempts; no dead letter, which may be wrong by now (see {@link AlertCommit.replaced}). @returns whether it was there */
  revive(id: string, nowMs: number): Promise<boolean>;
  counts(): Promise<OutboxCounts>;
}
