/**
 * The one writer. Everything that changes what the verifier knows passes here as a {@link Draft}; drafts that arrive while a transaction is
 * under way go into the next one together (group commit), with one append to the transparency log for all of them.
 */
import type { AlertNotification } from "../../ports/notifier.ts";
import type { DriftRow } from "../../ports/rows.ts";
import { MAX_BATCH_COMMITS, type Store, type StoreCommit, StoreError } from "../../ports/store.ts";
import type { AlertPlan } from "../alerting/book.ts";
import type { AlertSubject } from "../alerting/subject.ts";
import { encodeLogEntry, type LogEntry } from "../transparency/entry.ts";
import type { TransparencyLog } from "../transparency/log.ts";

/** Drafts waiting beyond which new ones are refused: the storage cannot keep up. */
export const MAX_QUEUED_DRAFTS = 16_384;
const MAX_LOG_CONFLICTS = 3;

export interface Draft {
  /** Log entries of this draft, in order. */
  readonly entries: readonly LogEntry[];
  /** The rows, once the position of the first entry is known. May be called again where a transaction is made anew. */
  build(firstLogIndex: number): StoreCommit;
  /** Whether to look what alerts have become due with time alone. */
  readonly alertsDue?: boolean;
  /** What to tell people of besides drifts. */
  readonly subjects?: readonly AlertSubject[];
  /** Fingerprints of alerts that a receiver has just taken, firing. */
  readonly deliveredAlerts?: readonly string[];
  /** Notifications that were given up, and are to be tried again as things stand now. */
  readonly deadLetters?: readonly AlertNotification[];
}

/** Decides what to tell people of drifts; told of each plan that became durable. Plans are made one at a time. */
export interface AlertPlanner {
  plan(drifts: readonly DriftRow[], others: readonly AlertSubject[], delivered: readonly string[], deadLetters: readonly AlertNotification[]): AlertPlan;
  apply(plan: AlertPlan): void;
}

export interface Committed {
  readonly commit: StoreCommit;
  readonly firstLogIndex: number;
}

interface Queued {
  readonly draft: Draft;
  readonly entries: readonly Buffer[];
  readonly resolve: (committed: Committed) => void;
  readonly reject: (error: unknown) => void;
}

interface Flight {
  readonly queued: Queued;
  readonly commit: StoreCommit;
  readonly firstLogIndex: number;
}

export class Committer {
  readonly #store: Store;
  readonly #log: TransparencyLog;
  readonly #alerts: AlertPlanner;
  readonly #onCommitted: (commit: StoreCommit) => void;
  #queue: Queued[] = [];
  #running: Promise<void> | undefined;

  /** @param onCommitted called for each commit in order, after it is durable and before its caller hears of it; must not throw */
  constructor(store: Store, log: TransparencyLog, alerts: AlertPlanner, onCommitted: (commit: StoreCommit) => void) {
    this.#store = store;
    this.#log = log;
    this.#alerts = alerts;
    this.#onCommitted = onCommitted;
  }

  get queued(): number {
    return this.#queue.length;
  }

  /**
   * Durable when it resolves. Drafts become durable in the order of submission.
   * @throws StoreError STORE_CONFLICT where this draft's own condition does not hold; STORE_UNAVAILABLE where storage failed or cannot keep up
   */
  submit(draft: Draft): Promise<Committed> {
    if (this.#queue.length >= MAX_QUEUED_DRAFTS) return Promise.reject(new StoreError("STORE_UNAVAILABLE", `${MAX_QUEUED_DRAFTS} commits are waiting`));
    return new Promise((resolve, reject) => {
      this.#queue.push({ draft, entries: draft.entries.map(encodeLogEntry), resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Resolves when nothing is waiting any more. */
  async drain(): Promise<void> {
    while (this.#running) await this.#running;
  }

  async #run(): Promise<void> {
    // Whatever else this turn of the event loop brings goes into the same transaction.
    await new Promise(setImmediate);
    for (let conflicts = 0; this.#queue.length > 0; ) {
      const batch = this.#queue.splice(0, MAX_BATCH_COMMITS - 1);
      const retry = await this.#fly(batch, conflicts);
      conflicts = retry ? conflicts + 1 : 0;
    }
    this.#running = undefined;
  }

  /** @returns whether the batch was put back because the log had grown */
  async #fly(batch: readonly Queued[], conflicts: number): Promise<boolean> {
    const entries = batch.flatMap((queued) => queued.entries);
    const planned = entries.length > 0 ? this.#log.plan(entries) : undefined;
    const flights: Flight[] = [];
    let alerts: AlertPlan | undefined;
    try {
      let index = planned?.append.firstIndex ?? this.#log.size;
      for (const queued of batch) {
        flights.push({ queued, commit: queued.draft.build(index), firstLogIndex: index });
        index += queued.entries.length;
      }
      alerts = this.#planAlerts(flights);
    } catch (error) {
      // Nothing was written. The writer goes on: who is next is not to blame.
      return this.#failed(batch, error, conflicts);
    }
    try {
      const commits = flights.map(({ commit }) => commit);
      await this.#store.commit({ commits: alerts ? [...commits, { alerts: alerts.commit }] : commits, log: planned?.append });
    } catch (error) {
      if (!(await this.#persistedAnyway(planned))) return this.#failed(batch, error, conflicts);
      this.#land(flights, alerts);
      return false;
    }
    if (planned) this.#log.committed(planned);
    this.#land(flights, alerts);
    return false;
  }

  #planAlerts(flights: readonly Flight[]): AlertPlan | undefined {
    const drifts = flights.flatMap(({ commit }) => commit.drifts ?? []);
    const others = flights.flatMap(({ queued, firstLogIndex }) => (queued.draft.subjects ?? []).map((subject) => ({ ...subject, logIndex: firstLogIndex })));
    const delivered = flights.flatMap(({ queued }) => queued.draft.deliveredAlerts ?? []);
    const deadLetters = flights.flatMap(({ queued }) => queued.draft.deadLetters ?? []);
    if (drifts.length + others.length + delivered.length + deadLetters.length === 0 && !flights.some(({ queued }) => queued.draft.alertsDue)) return undefined;
    return this.#alerts.plan(drifts, others, delivered, deadLetters);
  }

  #land(flights: readonly Flight[], alerts: AlertPlan | undefined): void {
    if (alerts) this.#alerts.apply(alerts);
    for (const { commit } of flights) this.#onCommitted(commit);
    for (const { queued, commit, firstLogIndex } of flights) queued.resolve({ commit, firstLogIndex });
  }

  /** A transaction can fail after it persisted: the log says whether it did. */
  async #persistedAnyway(planned: ReturnType<TransparencyLog["plan"]> | undefined): Promise<boolean> {
    if (!planned) return false;
    try {
      await this.#log.reload();
    } catch {
      return false;
    }
    return this.#log.size === planned.append.size && this.#log.root().equals(planned.append.root);
  }

  #failed(batch: readonly Queued[], error: unknown, conflicts: number): boolean {
    const code = error instanceof StoreError ? error.code : undefined;
    if (code === "STORE_LOG_CONFLICT" && conflicts < MAX_LOG_CONFLICTS) {
      this.#queue = [...batch, ...this.#queue];
      return true;
    }
    const culprit = code === "STORE_CONFLICT" && error instanceof StoreError ? batch[error.index] : undefined;
    if (!culprit) {
      for (const { reject } of batch) reject(error);
      return false;
    }
    culprit.reject(error);
    this.#queue = [...batch.filter((queued) => queued !== culprit), ...this.#queue];
    return false;
  }
}
