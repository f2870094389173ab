/**
 * What is still to be told, and what was told: survives a crash. Alert state and outgoing notifications are written together
 * ({@link AlertCommit}), in the transaction that commits the drift behind them, so that none is lost and none is made up.
 */
import type { AlertEvent, AlertNotification } from "./notifier.ts";

/** One alert as remembered between transitions: what deduplication, resolving and re-notifying need. Times are Unix milliseconds. */
export interface AlertRecord {
  readonly fingerprint: string;
  /** The alert as it would be sent now. */
  readonly event: AlertEvent;
  /** Drift ids that hold it open; it resolves when the last is gone. */
  readonly openDriftIds: readonly string[];
  /** Route name → when this alert was last put into a notification to it; absent: never. */
  readonly notifiedAtMs: Readonly<Record<string, number>>;
  /** Route name → severity last told: a rise is told at once. */
  readonly notifiedSeverity: Readonly<Record<string, string>>;
  readonly acknowledged: boolean;
  /** When there was last something new to tell: opened, became graver, spread after it was acknowledged. */
  readonly updatedAtMs: number;
}

/** Rows to write in one transaction. */
export interface AlertCommit {
  /** Insert or replace by fingerprint. */
  readonly upserts: readonly AlertRecord[];
  /** Fingerprints to delete. */
  readonly removals: readonly string[];
  readonly notifications: readonly AlertNotification[];
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

export interface OutboxCounts {
  readonly pending: number;
  readonly dead: number;
  /** Creation time of the oldest pending item; undefined when none is. */
  readonly oldestPendingAtMs: number | undefined;
}

export interface Outbox {
  /** Every alert record: at start. */
  readAlerts(): Promise<readonly AlertRecord[]>;
  /** Atomic and durable on return. A notification whose id is already there is ignored (idempotent). */
  commitAlerts(commit: AlertCommit): Promise<void>;
  /**
   * Takes up to `limit` items of one route that are due at `nowMs`, oldest first, and hides them from other claims until `nowMs + leaseMs`:
   * when the process dies in between they come back.
   */
  claim(route: string, nowMs: number, limit: number, leaseMs: number): Promise<readonly OutboxItem[]>;
  /** Removes a delivered item. No error where it is gone already. */
  delivered(id: string): Promise<void>;
  /** Gives an item back: one attempt more, due at `notBeforeMs`. */
  retry(id: string, error: string, notBeforeMs: number): Promise<void>;
  /** Moves an item to the dead letters, where people see it (`status`, metrics) until it is deleted or revived. */
  bury(id: string, error: string): Promise<void>;
  /** Newest first. */
  readDead(limit: number): Promise<readonly OutboxItem[]>;
  /** Makes a dead letter pending again with no attempts. @returns whether it was there */
  revive(id: string, nowMs: number): Promise<boolean>;
  counts(): Promise<OutboxCounts>;
}
