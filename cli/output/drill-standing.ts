/** How a drill stands, in the words that the command and the page have for it. */
import type { DrillRun, DrillStanding } from "@hullmark/proto/v1/query";
import { printable } from "@hullmark/verifier/core/text/printable";
import { age, ageMs, toMs } from "./words.ts";

/** Drill, state, age of the last that passed, how often and when the next is due, median of detection, why; printable. @param runs of every drill, newest first */
export function standingRow({ drill, state, problem, lastPassed, due, everySeconds }: DrillStanding, runs: readonly DrillRun[], nowMs: number): string[] {
  return [
    ...[drill, state, age(lastPassed, nowMs), everySeconds === 0 ? "-" : `${Math.round(everySeconds / 3600)}h`, dueWord(toMs(due), nowMs)],
    ...[medianWord(runs.filter((each) => each.drill === drill)), printable(problem, 200)],
  ];
}

interface Trend {
  readonly runs: number;
  readonly passed: number;
  readonly failed: number;
  /** Medians of the newer and the older half of the runs that were detected; null where there are none. */
  readonly detectMs: { readonly newer: number | null; readonly older: number | null };
}

/** @param runs newest first */
export function trendOf(runs: readonly DrillRun[]): Trend {
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
