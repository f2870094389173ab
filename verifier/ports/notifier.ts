/** Tells people: one adapter a channel. What is told is decided before ({@link AlertNotification} is complete and plain text). */

export type AlertSeverity = "info" | "low" | "medium" | "high" | "critical";

/** `firing` while the condition holds, `resolved` once when it is over. */
export type AlertStatus = "firing" | "resolved";

/** The commit that an image was built from, as provenance says that an authority of the policy has signed. */
export interface SourceCommit {
  /** As it is written there. */
  readonly repository: string;
  /** Lower-case hex, 40 or 64 digits. */
  readonly commit: string;
}

/** One alert as it is sent. All strings are printable: control bytes of paths and names are already escaped. Times are Unix milliseconds. */
export interface AlertEvent {
  /** The receiver's deduplication key: hex, 32 characters, the same as long as the alert is open and when it returns. */
  readonly fingerprint: string;
  /** Id of the incident, for example `I-4Z5NZVGWJ6S2DXM7`: one alert an incident, however many nodes. Empty: it is no drift, or stands for many. */
  readonly incident: string;
  readonly status: AlertStatus;
  /** Of the gravest drift behind it. It rises and does not fall while the alert is open. */
  readonly severity: AlertSeverity;
  /** Severities under which this route was told the alert before, since it opened: what a receiver holds by severity is to be replaced. */
  readonly earlierSeverities: readonly AlertSeverity[];
  /** Drift kind or state reason, for example `content`. */
  readonly kind: string;
  /** Set where the alert is one node's alone, whatever comes: no incident's. */
  readonly node: string;
  /** Of the drift that opened it, and stays so; empty where the alert is about nodes themselves. */
  readonly workload: string;
  readonly image: string;
  /** Of that image; undefined: not known, or no image is meant. */
  readonly source?: SourceCommit | undefined;
  /** Empty where no file is meant. */
  readonly path: string;
  /** Nodes, workloads and containers concerned, at most 16 names each; the counts are whole. */
  readonly nodes: readonly string[];
  readonly nodeCount: number;
  readonly workloads: readonly string[];
  readonly workloadCount: number;
  readonly containers: readonly string[];
  readonly containerCount: number;
  /** Ids of the drift records behind it, at most 16; the count is whole. */
  readonly driftIds: readonly string[];
  readonly driftCount: number;
  /** It is sent to say that somebody has acknowledged all of it, to routes that have a word for that (`pagerduty`): there is nothing else to tell. */
  readonly acknowledged: boolean;
  /** How often the incident has returned within 7 days of its end. */
  readonly reopened: number;
  readonly startsAtMs: number;
  /** Set when resolved. */
  readonly endsAtMs: number | undefined;
  /** One line: what, where. At most 512 characters. */
  readonly summary: string;
  /** Lines: what differs, where, layer, who, since when, next command. At most 4,096 characters. */
  readonly description: string;
  /** The next command to type. */
  readonly nextCommand: string;
  /** Path of the playbook page in the documentation. */
  readonly playbook: string;
}

/** What one delivery carries: alerts of one group for one route. */
export interface AlertNotification {
  /** Unique a notification; the same over retries, so that a receiver can drop a repetition. */
  readonly id: string;
  readonly route: string;
  /** What the alerts of this delivery have in common, for example `node=w-07`. */
  readonly groupKey: string;
  /** 1..100 alerts. */
  readonly alerts: readonly AlertEvent[];
  /** Alerts of this route that had to wait for its rate limit before this delivery: some of these, perhaps. */
  readonly suppressed: number;
  /** Alerts of this route that wait for it still: this delivery gathers, the gravest first, what its limit leaves room for. */
  readonly waiting: number;
  readonly createdAtMs: number;
}

/**
 * NOTIFY_REJECTED: the receiver understood and refuses (4xx): retrying cannot help, as with NOTIFY_REDIRECTED. The rest is worth retrying.
 * NOTIFY_SECRET: a secret of the route cannot be read now.
 */
export type NotifierErrorCode =
  | "NOTIFY_REJECTED"
  | "NOTIFY_SECRET"
  | "NOTIFY_TIMEOUT"
  | "NOTIFY_UNREACHABLE"
  | "NOTIFY_THROTTLED"
  | "NOTIFY_REDIRECTED"
  | "NOTIFY_SERVER_ERROR";

export class NotifierError extends Error {
  readonly code: NotifierErrorCode;
  readonly retryable: boolean;
  /** From Retry-After; undefined where the receiver did not say. */
  readonly retryAfterMs: number | undefined;

  constructor(code: NotifierErrorCode, message: string, options?: ErrorOptions & { readonly retryAfterMs?: number | undefined }) {
    super(`${code}: ${message}`, options);
    this.name = "NotifierError";
    this.code = code;
    this.retryable = code !== "NOTIFY_REJECTED" && code !== "NOTIFY_REDIRECTED";
    this.retryAfterMs = options?.retryAfterMs;
  }
}

export interface Notifier {
  /** Route name, as in the policy. */
  readonly route: string;
  /** `webhook`, `alertmanager`, … */
  readonly type: string;
  /**
   * Delivers once. On return the receiver has accepted it (2xx). Delivery is at least once: a retry may repeat what already arrived.
   * @returns what the receiver answered, for people: printable, at most 250 characters
   * @throws NotifierError; an abort rejects with the signal's reason
   */
  notify(notification: AlertNotification, signal: AbortSignal): Promise<string>;
}
