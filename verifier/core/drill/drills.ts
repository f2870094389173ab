/** Drills as the verifier remembers them: each run and schedule is durable with its log entry, and one that failed, never ended or did not come opens an alert until the next passes. */
import type { ClaimRow, DrillRunRow, DrillScheduleRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { AdministrationError } from "../fleet/administration.ts";
import { claimRow } from "../fleet/claims.ts";
import type { Committer } from "../fleet/committer.ts";
import { adminFact } from "../fleet/log-facts.ts";
import { DRILLS, type DrillName } from "./names.ts";
import { type DrillStanding, drillSubject, isAlarming, standingOf } from "./standing.ts";

/** Runs that are kept: of more the oldest by which no drill stands is forgotten, the log has it. */
const MAX_RUNS = 1000;

export interface DrillServices {
  readonly store: Pick<Store, "readDrillRuns" | "readDrillSchedules">;
  readonly committer: Pick<Committer, "submit">;
  readonly verifierId: string;
  readonly nowMs: () => number;
}

/** What whoever drills says of a run: `outcome` is empty when it begins. */
export type DrillReport = Omit<DrillRunRow, "begunAtMs" | "endedAtMs" | "endsByMs" | "logIndex"> & {
  /** How long after its beginning it ends at the latest. */
  readonly endsWithinMs: number;
};

export class Drills {
  readonly #services: DrillServices;
  readonly #runs: Map<string, DrillRunRow>;
  readonly #schedules: Map<DrillName, DrillScheduleRow>;
  /** What people were told of last; undefined: this process has not said yet, one that ran before may have. */
  readonly #alarms = new Map<DrillName, string>();
  /** One at a time: each is decided on what the one before left. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(services: DrillServices, runs: readonly DrillRunRow[], schedules: readonly DrillScheduleRow[]) {
    this.#services = services;
    this.#runs = new Map(runs.map((row) => [row.run, row]));
    this.#schedules = new Map(schedules.map((row) => [row.drill, row]));
  }

  /** Reads what is stored. @throws StoreError */
  static async open(services: DrillServices): Promise<Drills> {
    const { store } = services;
    return new Drills(services, await store.readDrillRuns(), await store.readDrillSchedules());
  }

  /** The newest word first, by the log: a clock that was ahead for a while must not let one that passed then hide what failed since. */
  get runs(): readonly DrillRunRow[] {
    return [...this.#runs.values()].sort((a, b) => b.logIndex - a.logIndex);
  }

  get schedules(): readonly DrillScheduleRow[] {
    return [...this.#schedules.values()];
  }

  /** Of every drill that has run or is scheduled. */
  standings(): readonly DrillStanding[] {
    const known = new Set([...this.#schedules.keys(), ...[...this.#runs.values()].map(({ drill }) => drill)]);
    return DRILLS.filter((drill) => known.has(drill)).map((drill) => this.#standing(drill, this.runs, this.#schedules.get(drill)));
  }

  /** What people should look at. */
  get claims(): readonly ClaimRow[] {
    return this.standings()
      .filter(isAlarming)
      .map(({ drill, problem }) => claimRow("drill-failed", `${drill}: ${problem}: hullmark drill report`));
  }

  /** That a run begins, or how it ended. @throws AdministrationError NOT_OPEN where it has ended already, CHANGED where it is another drill's; StoreError */
  async record({ endsWithinMs, ...report }: DrillReport): Promise<void> {
    await this.#next(async () => {
      const nowMs = this.#services.nowMs();
      const before = this.#runs.get(report.run);
      if (before && before.outcome !== "") throw new AdministrationError("NOT_OPEN", "this run has ended already");
      if (before && before.drill !== report.drill) throw new AdministrationError("CHANGED", "this run is another drill's");
      const begunAtMs = before?.begunAtMs ?? nowMs;
      const row: DrillRunRow = {
        ...{ ...report, begunAtMs, endsByMs: before?.endsByMs ?? nowMs + endsWithinMs },
        ...{ endedAtMs: report.outcome === "" ? undefined : nowMs, logIndex: -1 },
      };
      const kept = this.runs.filter(({ run }) => run !== row.run);
      const deciding = new Set(this.standings().map(({ by }) => by?.run));
      const removedDrillRuns = kept.slice(MAX_RUNS - 1).flatMap(({ run }) => (deciding.has(run) ? [] : [run]));
      const subjects = this.#told(this.#standing(row.drill, [row, ...kept], this.#schedules.get(row.drill)));
      let stored = row;
      await this.#services.committer.submit({
        entries: [adminFact("drill", nowMs, factOf(row))],
        build: (logIndex) => {
          stored = { ...row, logIndex };
          return { drillRuns: [stored], removedDrillRuns };
        },
        subjects: subjects.map(({ subject }) => subject),
      });
      this.#runs.set(stored.run, stored);
      for (const run of removedDrillRuns) this.#runs.delete(run);
      for (const { drill, alarm } of subjects) this.#alarms.set(drill, alarm);
    });
  }

  /** From now on one is due so often. @param everyMs 0: none is @throws AdministrationError NOT_FOUND where none was due; StoreError */
  async schedule(drill: DrillName, everyMs: number, by: string): Promise<void> {
    await this.#next(async () => {
      const nowMs = this.#services.nowMs();
      if (everyMs === 0 && !this.#schedules.has(drill)) throw new AdministrationError("NOT_FOUND", "this drill is not scheduled");
      const row: DrillScheduleRow | undefined = everyMs === 0 ? undefined : { drill, everyMs, by, atMs: nowMs };
      const subjects = this.#told(this.#standing(drill, this.runs, row));
      await this.#services.committer.submit({
        entries: [adminFact("drill-scheduled", nowMs, { drill, everySeconds: everyMs / 1000, by })],
        build: () => (row ? { drillSchedules: [row] } : { removedDrillSchedules: [drill] }),
        subjects: subjects.map(({ subject }) => subject),
      });
      if (row) this.#schedules.set(drill, row);
      else this.#schedules.delete(drill);
      for (const { alarm } of subjects) this.#alarms.set(drill, alarm);
    });
  }

  /** What time alone brings: one that never ended, or did not come. @throws StoreError: it comes again */
  async tick(): Promise<void> {
    await this.#next(async () => {
      const told = this.standings().flatMap((standing) => this.#told(standing));
      if (told.length === 0) return;
      await this.#services.committer.submit({ entries: [], build: () => ({}), subjects: told.map(({ subject }) => subject) });
      for (const { drill, alarm } of told) this.#alarms.set(drill, alarm);
    });
  }

  #standing(drill: DrillName, runs: readonly DrillRunRow[], schedule: DrillScheduleRow | undefined): DrillStanding {
    return standingOf(
      drill,
      runs.filter((row) => row.drill === drill),
      schedule,
      this.#services.nowMs(),
    );
  }

  /** What to tell people of it, where that is another thing than they know. */
  #told(standing: DrillStanding) {
    const alarm = isAlarming(standing) ? standing.problem : "";
    if (this.#alarms.get(standing.drill) === alarm) return [];
    const { verifierId, nowMs } = this.#services;
    return [{ drill: standing.drill, alarm, subject: drillSubject(verifierId, standing, nowMs()) }];
  }

  async #next<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(step, step);
    this.#turn = turn.catch(() => undefined);
    return await turn;
  }
}

function factOf(row: DrillRunRow): Readonly<Record<string, string | number | null>> {
  const { drill, run, container, outcome, problem, driftId, containment, by } = row;
  const { detectMs = null, alertMs = null, containMs = null, detectWithinMs, alertWithinMs, containWithinMs = null } = row;
  return {
    ...{ drill, run, container, outcome: outcome || "begun", problem, drift: driftId, containment },
    ...{ detectMs, alertMs, containMs, detectWithinMs, alertWithinMs, containWithinMs, by },
  };
}
