/** How grave a vulnerability is, of what reports say in words, scores and vectors. */
import cvss from "ae-cvss-calculator";
import type { FindingSeverity } from "./types.ts";

const WORDS: Readonly<Record<string, FindingSeverity>> = {
  negligible: "negligible",
  info: "negligible",
  none: "negligible",
  low: "low",
  medium: "medium",
  moderate: "medium",
  high: "high",
  important: "high",
  critical: "critical",
};

/** @param word of a scanner, in any case; @param cvss decides where the word says nothing (CVSS v3.1, section 5, table 14) */
export function severityOf(word: string, cvss: number | undefined): FindingSeverity {
  const key = word.toLowerCase();
  const named = Object.hasOwn(WORDS, key) ? WORDS[key] : undefined;
  if (named) return named;
  if (cvss === undefined) return "unknown";
  if (cvss === 0) return "negligible";
  return cvss < 4 ? "low" : cvss < 7 ? "medium" : cvss < 9 ? "high" : "critical";
}

const MAX_VECTOR_CHARS = 512;
/** Of anything else the library tells on the process's standard error. */
const VECTOR = /^[A-Za-z]+:[^/:]+(?:\/[A-Za-z]+:[^/:]+)+$/;

/** The base score of a CVSS vector (2.0, 3.0, 3.1, 4.0); undefined where it is none, or lacks a metric: the library has 0 for that, which is harmless. */
export function scoreOf(vector: string): number | undefined {
  if (vector.length > MAX_VECTOR_CHARS || !VECTOR.test(vector)) return undefined;
  try {
    const read = cvss.fromVector(vector);
    if (!read?.isBaseFullyDefined()) return undefined;
    const scores: unknown = read.calculateScores();
    const found = scores as { readonly base?: unknown; readonly overall?: unknown } | undefined;
    const score = found?.base ?? found?.overall;
    return typeof score === "number" && score >= 0 && score <= 10 ? score : undefined;
  } catch {
    // A vector that nobody can read says nothing.
    return undefined;
  }
}

/** The highest of them, however many a report has. */
export function highest(scores: readonly (number | null | undefined)[]): number | undefined {
  let most: number | undefined;
  for (const score of scores) if (typeof score === "number" && (most === undefined || score > most)) most = score;
  return most;
}
