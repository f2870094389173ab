/** How drills stand, and what their runs measured. */
import type { DrillRun, DrillStanding, ListDrillsResponse } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { table } from "./table.ts";
import { age, ageMs, isoTime, toMs } from "./words.ts";

const MAX_SHOWN = 20;

export const alarming = ({ state }: DrillStanding): boolean => state === "failed" || state === "never-ended" || state === "overdue";

/** The stable form of `-o json`. */
export function drillReportView({ runs, standings }: ListDrillsResponse, sinceMs: number): unknown {
  const within = runs.filter(({ begun }) => (toMs(begun) ?? 0) >= sinceMs);
  return {
    drills: standings.map(({ drill, state, problem, run, lastPassed, due, everySeconds, scheduledBy }) => ({
      ...{ drill, state, problem, run: run || null, lastPassed: isoTime(lastPassed), due: isoTime(due) },
      ...{ everySeconds: everySeconds || null, scheduledBy: scheduledBy || null, trend: trendOf(within.filter((each) => each.drill === drill)) },
    })),
    runs: within.map(({ drill, run, container, outcome, problem, driftId, containment, by, begun, ended, logIndex, ...times }) => ({
      ...{ drill, run, container, outcome: outcome || "running", problem, drift: driftId || null, by, begun: isoTime(begun), ended: isoTime(ended) },
      detect: { ms: times.detectMs ?? null, withinMs: times.detectWithinMs },
      alert: { ms: times.alertMs ?? null, withinMs: times.alertWithinMs },
      contain: { ms: times.containMs ?? null, withinMs: times.containWithinMs ?? null, state: containment || null },
      logIndex: Number(logIndex),
    })),
  };
}

export function drillReportText({ runs, standings }: ListDrillsResponse, sinceMs: number, nowMs: number): string {
  if (standings.length === 0) return "no drill has run: hullmark drill run canary-file\n";
  const within = runs.filter(({ begun }) => (toMs(begun) ?? 0) >= sinceMs);
  const rows = standings.map(({ drill, state, problem, lastPassed, due, everySeconds }) => [
    ...[drill, state, age(lastPassed, nowMs), everySeconds === 0 ? "-" : `${Math.round(everySeconds / 3600)}h`, dueWord(toMs(due), nowMs)],
    ...[medianWord(within.filter((each) => each.drill === drill)), printable(problem, 200)],
  ]);
  const shown = within.slice(0, MAX_SHOWN);
  const runRows = shown.map((run) => [
    ...[age(run.begun, nowMs), run.drill, run.run, run.outcome || "running", timeWord(run.detectMs, run.detectWithinMs)],
    ...[timeWord(run.alertMs, run.alertWithinMs), `${timeWord(run.containMs, run.containWithinMs)} ${run.containment}`.trim(), printable(run.by, 40)],
    printable(run.problem, 100),
  ]);
  const more = within.length > shown.length ? `${within.length - shown.length} more runs: -o json\n` : "";
  return [
    table(["DRILL", "STATE", "PASSED", "EVERY", "DUE", "DETECTED, MEDIAN", "WHY"], rows),
    shown.length === 0 ? "no run in this time\n" : table(["AGE", "DRILL", "RUN", "OUTCOME", "DETECTED", "ALERTED", "CONTAINED", "BY", "WHY"], runRows),
    more,
  ].join("\n");
}

interface Trend {
  readonly runs: number;
  readonly passed: number;
  readonly failed: number;
  /** Medians of the newer and the older half of the runs that were detected; null where there are none. */
  readonly detectMs: { readonly newer: number | null; readonly older: number | null };
}

/** @param runs newest first */
function trendOf(runs: readonly DrillRun[]): Trend {
  const detected = runs.flatMap(({ detectMs }) => detectMs ?? []);
  const half = Math.ceil(detected.length / 2);
  return {
    ...{ runs: runs.length, passed: countOf(runs, "passed"), failed: countOf(runs, "failed") },
    detectMs: { newer: median(detected.slice(0, half)), older: median(detected.slice(half)) },
  };
}

const countOf = (runs: readonly DrillRun[], wanted: string): number => runs.filter(({ outcome }) => outcome === wanted).length;

function median(values: readonly number[]): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? null;
}

function medianWord(runs: readonly DrillRun[]): string {
  const { newer, older } = trendOf(runs).detectMs;
  return newer === null ? "-" : `${newer} ms${older === null ? "" : ` (before ${older})`}`;
}

function dueWord(dueMs: number | undefined, nowMs: number): string {
  if (dueMs === undefined) return "-";
  return dueMs < nowMs ? `${ageMs(dueMs, nowMs)} ago` : `in ${ageMs(nowMs, dueMs)}`;
}

function timeWord(ms: number | undefined, withinMs: number | undefined): string {
  return ms === undefined ? "-" : `${ms} ms${withinMs === undefined ? "" : `/${withinMs}`}`;
}
