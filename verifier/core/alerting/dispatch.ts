/** Empties the outbox of one route: at least once, in order of age, with bounded retries. */
import { type AlertNotification, type Notifier, NotifierError } from "../../ports/notifier.ts";
import type { Outbox, OutboxItem } from "../../ports/outbox.ts";

/** Deliveries tried before a notification is a dead letter: with the backoff below, about 50 minutes. */
export const MAX_ATTEMPTS = 16;
const FIRST_BACKOFF_MS = 1000;
const MAX_BACKOFF_MS = 300_000;
const CLAIM_LIMIT = 8;

/** Every place between a drift and the page for it at which a crash leaves the outbox otherwise. */
export const ALERT_FAILPOINTS = ["alert-planned", "alert-committed", "alert-claimed", "alert-sent", "alert-noted", "alert-delivered"] as const;
export type AlertFailpoint = (typeof ALERT_FAILPOINTS)[number];

export interface DispatchEnvironment {
  /** Unix milliseconds. */
  readonly now: () => number;
  /** 0 ≤ value < 1, for jitter. */
  readonly random: () => number;
  /** Longer than any delivery may take: a claim that was not finished comes back after it. */
  readonly leaseMs: number;
  /** The receiver has taken it; it counts as delivered when this is done. */
  readonly onDelivered: (notification: AlertNotification) => Promise<void>;
  /** Called at each of {@link ALERT_FAILPOINTS} of a delivery. */
  readonly passing: (point: AlertFailpoint) => void;
}

export interface DispatchResult {
  readonly delivered: number;
  readonly retried: number;
  readonly buried: number;
  /** The receiver asked to be left alone for so long; 0: it did not. */
  readonly restMs: number;
}

/** Wait after failed attempt `attempts` (1 is the first): half fixed, half random, so that many routes do not come back together. */
export function backoffMs(attempts: number, random: number, retryAfterMs: number | undefined): number {
  const full = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(30, attempts - 1));
  const jittered = Math.round(full / 2 + (full / 2) * random);
  return Math.max(jittered, Math.min(retryAfterMs ?? 0, MAX_BACKOFF_MS));
}

/**
 * Delivers what is due now, oldest first. Stops at the first failure that is worth retrying: the receiver is not well, and order is kept. What was not tried is due as before.
 * @throws what the outbox throws; the signal's reason
 */
export async function dispatchDue(outbox: Outbox, notifier: Notifier, environment: DispatchEnvironment, signal: AbortSignal): Promise<DispatchResult> {
  const items = [...(await outbox.claim(notifier.route, environment.now(), CLAIM_LIMIT, environment.leaseMs))];
  const result = { delivered: 0, retried: 0, buried: 0, restMs: 0 };
  try {
    for (let item = items[0]; item && result.retried === 0; item = items[0]) {
      signal.throwIfAborted();
      environment.passing("alert-claimed");
      const error = await attempt(notifier, item, signal);
      // Tried: where what came of it cannot be noted, it comes again after its claim, not at once.
      items.shift();
      const ended = await settle(outbox, item, error, environment);
      result[ended]++;
      if (ended === "retried") result.restMs = Math.min(error?.retryAfterMs ?? 0, MAX_BACKOFF_MS);
    }
  } finally {
    if (items.length > 0) await outbox.unclaim(items.map(({ notification }) => notification.id));
  }
  return result;
}

async function settle(
  outbox: Outbox,
  { notification, attempts }: OutboxItem,
  error: NotifierError | undefined,
  { now, random, onDelivered, passing }: DispatchEnvironment,
): Promise<"delivered" | "retried" | "buried"> {
  if (!error) {
    passing("alert-sent");
    await onDelivered(notification);
    passing("alert-noted");
    await outbox.delivered(notification.id, now());
    passing("alert-delivered");
    return "delivered";
  }
  if (!error.retryable || attempts + 1 >= MAX_ATTEMPTS) {
    await outbox.bury(notification.id, error.message, now());
    return "buried";
  }
  await outbox.retry(notification.id, error.message, now() + backoffMs(attempts + 1, random(), error.retryAfterMs));
  return "retried";
}

async function attempt(notifier: Notifier, { notification }: OutboxItem, signal: AbortSignal): Promise<NotifierError | undefined> {
  try {
    await notifier.notify(notification, signal);
    return undefined;
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof NotifierError) return cause;
    return new NotifierError("NOTIFY_UNREACHABLE", cause instanceof Error ? cause.message : String(cause), { cause });
  }
}
