/** What the verifier does by the clock alone. */

import { Verdict } from "@hullmark/proto/v1/common";
import type { Clock } from "../../ports/clock.ts";
import type { CoverageRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import type { Sessions } from "../session/sessions.ts";
import type { TransparencyLog } from "../transparency/log.ts";
import type { Committer } from "./committer.ts";
import type { Fleet } from "./fleet.ts";

export interface DutyServices {
  readonly clock: Clock;
  readonly sessions: Sessions;
  readonly fleet: Fleet;
  readonly store: Store;
  readonly committer: Committer;
  readonly log: TransparencyLog;
  /** A duty failed; it comes again. */
  readonly onProblem: (duty: string, error: unknown) => void;
}

const LIVE_SLICE_MS = 250;
const SILENT_MS = 1000;
const CHECKPOINT_MS = 1000;
const ALERTS_MS = 1000;
const COVERAGE_MS = 10_000;
const PRUNE_MS = 600_000;
const HOUR_MS = 3_600_000;
const COVERAGE_KEPT_MS = 400 * 24 * HOUR_MS;

/** Starts every duty. @returns a function that ends them; what is under way still finishes */
export function startDuties(services: DutyServices): () => void {
  const { clock, sessions, store, committer, log } = services;
  const coverage = coverageAccount(services);
  const ends = [
    every("live nodes", LIVE_SLICE_MS, async () => sessions.tickSlice()),
    every("silent nodes", SILENT_MS, () => sessions.judgeSilent()),
    every("checkpoint", CHECKPOINT_MS, async () => {
      await log.publish();
    }),
    every("alerts", ALERTS_MS, async () => {
      await committer.submit({ entries: [], build: () => ({}), alertsDue: true });
    }),
    every("coverage", COVERAGE_MS, coverage),
    every("pruning", PRUNE_MS, () => store.prune(clock.nowMs(), clock.nowMs() - COVERAGE_KEPT_MS)),
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
        .catch((error: unknown) => services.onProblem(name, error))
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

/** Adds up, for every node that should attest, how long it was looked at and how long it was not attested. */
function coverageAccount({ clock, fleet, committer }: DutyServices): () => Promise<void> {
  let lastMs = clock.nowMs();
  return async () => {
    const nowMs = clock.nowMs();
    // A verifier that was stopped, or a clock that jumped, observed nothing meanwhile.
    const seconds = Math.min(Math.max(0, nowMs - lastMs), 3 * COVERAGE_MS) / 1000;
    lastMs = nowMs;
    if (seconds === 0) return;
    const hourMs = Math.floor(nowMs / HOUR_MS) * HOUR_MS;
    const rows: CoverageRow[] = fleet
      .all()
      .filter(({ revokedAtMs }) => revokedAtMs === undefined)
      .map(({ id, verdict }) => ({
        nodeId: id,
        hourMs,
        observedSeconds: seconds,
        unattestedSeconds: verdict === Verdict.AFFIRMING || verdict === Verdict.WARNING ? 0 : seconds,
      }));
    if (rows.length > 0) await committer.submit({ entries: [], build: () => ({ coverage: rows }) });
  };
}
