/** How drills stand, and what their runs measured. */

import type { DrillStanding, ListDrillsResponse } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { Called } from "../kubectl/invocation.ts";
import { standingRow, trendOf } from "./drill-standing.ts";
import { table } from "./table.ts";
import { age, isoTime, toMs } from "./words.ts";

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

export function drillReportText({ runs, standings }: ListDrillsResponse, sinceMs: number, nowMs: number, command: Called): string {
  if (standings.length === 0) return `no drill has run: ${command} drill run canary-file\n`;
  const within = runs.filter(({ begun }) => (toMs(begun) ?? 0) >= sinceMs);
  const rows = standings.map((standing) => standingRow(standing, within, nowMs));
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

function timeWord(ms: number | undefined, withinMs: number | undefined): string {
  return ms === undefined ? "-" : `${ms} ms${withinMs === undefined ? "" : `/${withinMs}`}`;
}
