/** Keeps the cluster's reports (openreports.io) like the verdicts: written where they say something new, a few at a time, and removed with the last workload of a namespace. */
import { hash } from "node:crypto";
import type { Logger } from "pino";
import { type ApiServer, deleteReport, fewAtATime, reportedNamespaces, reportOwner, writeReport } from "./adapters/kubernetes/index.ts";
import type { VerifierConfig } from "./config.ts";
import type { EventBus } from "./core/fleet/events.ts";
import { type Report, reportsOf } from "./core/fleet/reports.ts";
import { allWorkloads } from "./core/fleet/row-pages.ts";
import type { Clock } from "./ports/clock.ts";
import type { ClaimRow, NodeRow } from "./ports/rows.ts";
import type { Store } from "./ports/store.ts";

/** A round comes no more often, and writes no more: 40 writes a minute, whatever happens. */
const ROUND_MS = 30_000;
const MAX_WRITES = 20;
/** Of these so many at least are for namespaces that refused theirs, whatever else is to be written. */
const MIN_RETRIES = 2;

export interface ReportServices {
  readonly events: EventBus;
  readonly store: Pick<Store, "listWorkloads">;
  readonly nodes: () => readonly NodeRow[];
  /** Name of the policy in force. */
  readonly policy: () => string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** @returns ends it; what was written stays */
export function reporting(api: ApiServer, { kubernetes }: VerifierConfig, services: ReportServices): () => Promise<void> {
  const targets = kubernetes?.reports;
  if (!targets) return async () => {};
  const { events, store, clock, logger } = services;
  const news = new News(events);
  const stop = new AbortController();
  /** Namespace (empty: the nodes) → digest of what stands there; empty: something of an earlier start. */
  let standing: Map<string, string> | undefined;
  /** Namespaces whose report is not as it should be. */
  const waiting = { all: new Set<string>(), refusing: new Set<string>() };

  const round = async (): Promise<void> => {
    if (!news.take()) return;
    try {
      const reports = reportsOf(await allWorkloads(store, { verdicts: [], nodeId: "" }), services.nodes());
      const known = standing ?? new Map([...(await reportedNamespaces(api, targets))].map((namespace) => [namespace, ""]));
      standing = known;
      const changes = changesOf(reports, known, services.policy());
      const turn = queued(waiting, changes);
      if (changes.size > turn.length) news.again();
      const owner = turn.length > 0 ? await reportOwner(api, targets) : "";
      const write = async ({ namespace, report, digest }: Change): Promise<void> => {
        // What has changed again comes after all others, and what is refused after those.
        waiting.all.delete(namespace);
        waiting.refusing.add(namespace);
        if (report) await writeReport(api, targets, owner, report, services.policy());
        else await deleteReport(api, targets, namespace === "" ? undefined : namespace);
        waiting.refusing.delete(namespace);
        if (report) known.set(namespace, digest);
        else known.delete(namespace);
      };
      const failed = await fewAtATime(turn, write, stop.signal);
      if (failed.length === 0) return;
      news.again();
      logger.warn({ err: failed[0]?.error, objects: failed.length }, "reports cannot be written: trying again");
    } catch (error) {
      news.again();
      logger.warn({ err: error }, "reports cannot be written: trying again");
    }
  };
  let running: Promise<void> = Promise.resolve();
  let cancel = clock.after(ROUND_MS, run);
  function run(): void {
    const startMs = clock.nowMs();
    running = round().finally(() => {
      // What hangs makes no round later; nor does a clock that was set.
      const lastedMs = Math.min(Math.max(0, clock.nowMs() - startMs), ROUND_MS);
      if (!stop.signal.aborted) cancel = clock.after(ROUND_MS - lastedMs, run);
    });
  }
  return async () => {
    news.end();
    stop.abort();
    cancel();
    await running;
  };
}

interface Change {
  readonly namespace: string;
  /** Undefined: to be removed. */
  readonly report: Report | undefined;
  readonly digest: string;
}

interface Waiting {
  /** In the order in which they are written. */
  readonly all: Set<string>;
  /** Those that did not take it when it was written last. */
  readonly refusing: Set<string>;
}

/** Brings the queue up to date. @returns those whose turn it is, those that refused last after all others */
function queued({ all, refusing }: Waiting, changes: ReadonlyMap<string, Change>): readonly Change[] {
  for (const namespaces of [all, refusing]) for (const namespace of namespaces) if (!changes.has(namespace)) namespaces.delete(namespace);
  for (const namespace of changes.keys()) all.add(namespace);
  const fresh = [...all].filter((namespace) => !refusing.has(namespace));
  const again = [...all].filter((namespace) => refusing.has(namespace)).slice(0, Math.max(MIN_RETRIES, MAX_WRITES - fresh.length));
  return [...fresh.slice(0, MAX_WRITES - again.length), ...again].flatMap((namespace) => changes.get(namespace) ?? []);
}

/** @returns by namespace */
function changesOf(reports: ReadonlyMap<string, Report>, standing: ReadonlyMap<string, string>, policy: string): ReadonlyMap<string, Change> {
  const changed = [...reports].flatMap(([namespace, report]): Change[] => {
    const digest = hash("sha256", JSON.stringify([policy, report]));
    return standing.get(namespace) === digest ? [] : [{ namespace, report, digest }];
  });
  const gone = [...standing.keys()].filter((namespace) => !reports.has(namespace));
  const all = [...changed, ...gone.map((namespace): Change => ({ namespace, report: undefined, digest: "" }))];
  return new Map(all.map((change) => [change.namespace, change]));
}

/** Whether a verdict has changed: rows come again for their times alone. */
class News {
  readonly #said = new Map<string, string>();
  readonly #ends: readonly (() => void)[];
  // What an earlier start wrote may be old.
  #fresh = true;

  constructor(events: EventBus) {
    this.#ends = [
      events.on("workload", (row) => this.#note(`${row.nodeId}/${row.containerId}`, JSON.stringify([row.verdict, codes(row.reasons), row.openDrifts]))),
      events.on("workloadRemoved", ({ nodeId, containerId }) => this.#note(`${nodeId}/${containerId}`, undefined)),
      events.on("node", (row) => this.#note(row.id, JSON.stringify([row.verdict, codes(row.reasons), row.revokedAtMs]))),
    ];
  }

  #note(key: string, said: string | undefined): void {
    if (this.#said.get(key) === said) return;
    this.#fresh = true;
    if (said === undefined) this.#said.delete(key);
    else this.#said.set(key, said);
  }

  take(): boolean {
    const fresh = this.#fresh;
    this.#fresh = false;
    return fresh;
  }

  again(): void {
    this.#fresh = true;
  }

  end(): void {
    for (const end of this.#ends) end();
  }
}

function codes(reasons: readonly ClaimRow[]): readonly string[] {
  return reasons.map(({ code }) => code);
}
