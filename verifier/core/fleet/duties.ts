/** What the verifier does by the clock alone. */

import type { Clock } from "../../ports/clock.ts";
import type { Meter } from "../../ports/meter.ts";
import type { Outbox } from "../../ports/outbox.ts";
import type { CoverageRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { SLICE_MS } from "../session/pacer.ts";
import type { Sessions } from "../session/sessions.ts";
import type { TransparencyLog } from "../transparency/log.ts";
import { type Census, isAttested, members, takeCensus } from "./census.ts";
import type { Committer } from "./committer.ts";
import type { Fleet } from "./fleet.ts";
import type { Health } from "./health.ts";

export interface DutyServices {
  readonly clock: Clock;
  readonly sessions: Sessions;
  readonly fleet: Fleet;
  readonly store: Store;
  readonly committer: Committer;
  readonly log: TransparencyLog;
  readonly outbox: Outbox;
  readonly meter: Meter;
  readonly health: Health;
  /** Resolves where this process's own listeners take connections. */
  readonly reachListeners: () => Promise<void>;
  /** Brings the keys of Attestation Results up to date. */
  readonly rotateEarKeys: () => Promise<void>;
  /** Makes what this process has certified for itself anew, long before it ends; nothing is done in between. */
  readonly renewCertificates: () => Promise<void>;
  /** What actions become with time. */
  readonly response: () => Promise<void>;
  /** What exceptions and baselines become with time. */
  readonly exceptions: () => Promise<void>;
  readonly baselines: () => Promise<void>;
  /** What drills become with time. */
  readonly drills: () => Promise<void>;
  /** Which vulnerabilities are new, and which are gone. */
  readonly vulnerabilities: () => Promise<void>;
  /** A duty failed; it comes again. */
  readonly onProblem: (duty: string, error: unknown) => void;
}

const LIVE_SLICE_MS = 250;
const SILENT_MS = 1000;
const CHECKPOINT_MS = 1000;
const ALERTS_MS = 1000;
const RESPONSE_MS = 1000;
const EXCEPTIONS_MS = 1000;
const DRILLS_MS = 10_000;
const VULNERABILITIES_MS = 5000;
const COVERAGE_MS = 10_000;
const CENSUS_MS = 5000;
const LISTENERS_MS = 10_000;
const LOG_CHECK_MS = 60_000;
const PRUNE_MS = 600_000;
const HOUR_MS = 3_600_000;
const CERTIFICATES_MS = 60_000;
const COVERAGE_KEPT_MS = 400 * 24 * HOUR_MS;

/** What duties found last. Times are Unix milliseconds. */
export interface DutyFindings {
  census: Census | undefined;
  checkpoint: { readonly size: number; readonly atMs: number };
  logVerifiedMs: number;
}

/** Starts every duty. What they find is put into `findings`. @returns a function that ends them; what is under way still finishes */
export function startDuties(services: DutyServices, findings: DutyFindings): () => void {
  const { clock, sessions, fleet, store, outbox, committer, log, health } = services;
  const nowMs = (): number => clock.nowMs();
  const coverage = coverageAccount(services, findings);
  const ends = [
    every("quotes", SLICE_MS, async () => sessions.pace()),
    every("live nodes", LIVE_SLICE_MS, async () => sessions.tickSlice()),
    every("silent nodes", SILENT_MS, () => sessions.judgeSilent()),
    every("checkpoint", CHECKPOINT_MS, async () => {
      const { size } = await log.publish();
      findings.checkpoint = { size, atMs: nowMs() };
    }),
    every("log check", LOG_CHECK_MS, async () => {
      await health.trial("log", nowMs, () => log.check());
      findings.logVerifiedMs = nowMs();
    }),
    every("listeners", LISTENERS_MS, () => health.trial("listeners", nowMs, services.reachListeners)),
    every("census", CENSUS_MS, async () => {
      findings.census = await takeCensus(fleet, store, outbox);
    }),
    every("alerts", ALERTS_MS, async () => {
      await committer.submit({ entries: [], build: () => ({}), alertsDue: true });
    }),
    every("coverage", COVERAGE_MS, () => health.trial("store", nowMs, coverage)),
    every("response", RESPONSE_MS, services.response),
    every("exceptions", EXCEPTIONS_MS, services.exceptions),
    every("baselines", EXCEPTIONS_MS, services.baselines),
    every("drills", DRILLS_MS, services.drills),
    every("vulnerabilities", VULNERABILITIES_MS, services.vulnerabilities),
    every("ear keys", PRUNE_MS, services.rotateEarKeys),
    every("certificates", CERTIFICATES_MS, services.renewCertificates),
    every("pruning", PRUNE_MS, () => store.prune(nowMs(), nowMs() - COVERAGE_KEPT_MS)),
  ];
  return () => {
    for (const end of ends) end();
  };

  /** Runs again after the pause that follows the end of the run before: a slow duty never overlaps itself. */
  function every(name: string, pauseMs: number, duty: () => Promise<void>): () => void {
    let ended = false;
    let cancel = clock.after(pauseMs, run);
    function run(): void {
      duty()
        .catch((error: unknown) => {
          services.meter.dutyFailed(name);
          services.onProblem(name, error);
        })
        .finally(() => {
          if (!ended) cancel = clock.after(pauseMs, run);
        });
    }
    return () => {
      ended = true;
      cancel();
    };
  }
}

/**
 * Adds up how long nodes and containers were looked at and how long they were not attested. Writes each time, nodes or not: that the store can be
 * written is known by it.
 */
function coverageAccount({ clock, fleet, committer, meter }: DutyServices, findings: DutyFindings): () => Promise<void> {
  let lastMs = clock.nowMs();
  return async () => {
    const nowMs = clock.nowMs();
    // A verifier that was stopped, or a clock that jumped, observed nothing meanwhile.
    const seconds = Math.min(Math.max(0, nowMs - lastMs), 3 * COVERAGE_MS) / 1000;
    lastMs = nowMs;
    const hourMs = Math.floor(nowMs / HOUR_MS) * HOUR_MS;
    const rows: CoverageRow[] = members(fleet).map(({ id, verdict }) => ({
      nodeId: id,
      hourMs,
      observedSeconds: seconds,
      unattestedSeconds: isAttested(verdict) ? 0 : seconds,
    }));
    const unattested = rows.reduce((sum, { unattestedSeconds }) => sum + unattestedSeconds, 0);
    meter.coverage({ node: { observed: rows.length * seconds, unattested }, workload: workloadSeconds(findings.census, seconds) });
    const none: CoverageRow = { nodeId: "", hourMs, observedSeconds: 0, unattestedSeconds: 0 };
    await committer.submit({ entries: [], build: () => ({ coverage: rows.length > 0 ? rows : [none] }) });
  };
}

function workloadSeconds(census: Census | undefined, seconds: number): { observed: number; unattested: number } {
  let [observed, unattested] = [0, 0];
  for (const [verdict, count] of Object.entries(census?.workloads.byVerdict ?? {})) {
    observed += count * seconds;
    if (!isAttested(Number(verdict))) unattested += count * seconds;
  }
  return { observed, unattested };
}
