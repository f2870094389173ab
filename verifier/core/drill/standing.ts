/** How a drill stands: by its newest run that says something, and by when the next one is due. Pure. */
import type { DrillRunRow, DrillScheduleRow } from "../../ports/rows.ts";
import type { AlertSubject } from "../alerting/subject.ts";
import type { DrillName } from "./names.ts";

/** `none`: none has come to a result, and nothing is due. `never-ended`: the newest began and did not say how it ended. `overdue`: none came to a result when one was due. */
export type DrillState = "none" | "passed" | "failed" | "never-ended" | "overdue";

export interface DrillStanding {
  readonly drill: DrillName;
  readonly state: DrillState;
  /** In words; empty where nothing is wrong. */
  readonly problem: string;
  /** The run that decided; undefined where none did. */
  readonly by: DrillRunRow | undefined;
  readonly lastPassedMs: number | undefined;
  /** undefined: not scheduled. */
  readonly dueMs: number | undefined;
}

const HOUR_MS = 3_600_000;
/** Timers start late, machines are away for a night: a tenth of the time between two runs, an hour at least, is no delay. */
const graceMs = (everyMs: number): number => Math.max(HOUR_MS, everyMs / 10);

/** @param runs those of the drill, the newest word first */
export function standingOf(drill: DrillName, runs: readonly DrillRunRow[], schedule: DrillScheduleRow | undefined, nowMs: number): DrillStanding {
  const says = runs.find(({ outcome, endsByMs }) => outcome === "passed" || outcome === "failed" || (outcome === "" && endsByMs < nowMs));
  // One of a time to come is of a clock that was ahead, and says nothing of when the next is due.
  const decided = runs.find(({ outcome, begunAtMs }) => (outcome === "passed" || outcome === "failed") && begunAtMs <= nowMs);
  const lastPassedMs = runs.find(({ outcome }) => outcome === "passed")?.endedAtMs;
  const fromMs = schedule && Math.max(schedule.atMs, decided?.begunAtMs ?? 0);
  const dueMs = schedule && fromMs !== undefined ? fromMs + schedule.everyMs : undefined;
  const at = (state: DrillState, problem: string): DrillStanding => ({ drill, state, problem, by: says, lastPassedMs, dueMs });
  if (says?.outcome === "failed") return at("failed", `run ${says.run} failed: ${says.problem || "no reason is given"}`);
  if (says && says.outcome === "") return at("never-ended", `run ${says.run} began ${isoOf(says.begunAtMs)} and never ended`);
  if (schedule && dueMs !== undefined && nowMs > dueMs + graceMs(schedule.everyMs))
    return at("overdue", `none came to a result since ${isoOf(fromMs ?? 0)}: it was due ${isoOf(dueMs)}`);
  return at(says ? "passed" : "none", "");
}

export function isAlarming({ state }: Pick<DrillStanding, "state">): boolean {
  return state === "failed" || state === "never-ended" || state === "overdue";
}

/** @param verifierId whose alert it is */
export function drillSubject(verifierId: string, standing: DrillStanding, nowMs: number): AlertSubject {
  const { drill, by, problem } = standing;
  const open = isAlarming(standing);
  return {
    ...{ driftId: `drill-${drill}`, incident: "", image: "", state: open ? "open" : "resolved", kind: "drill-failed", place: "node" },
    ...{ severity: "high", nodeName: verifierId, workload: "", imageReference: "", containerName: "", path: new Uint8Array(0) },
    ...{ layerIndex: -1, layerHistory: "", actor: undefined, provenance: "", summary: open ? `${drill}: ${problem}` : `${drill} passed` },
    ...{ sinceMs: by?.endedAtMs ?? by?.begunAtMs ?? nowMs, logIndex: -1 },
  };
}

const isoOf = (ms: number): string => new Date(ms).toISOString();
