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

/** The base score of a CVSS vector (2.0, 3.0, 3.1, 4.0); undefined where it is none. */
export function scoreOf(vector: string): number | undefined {
  if (vector === "" || vector.length > MAX_VECTOR_CHARS) return undefined;
  try {
    const scores: unknown = cvss.fromVector(vector)?.calculateScores();
    const found = scores as { readonly base?: unknown; readonly overall?: unknown } | undefined;
    const score = found?.base ?? found?.overall;
    return typeof score === "number" && score >= 0 && score <= 10 ? score : undefined;
  } catch {
    // A vector that nobody can read says nothing.
    return undefined;
  }
}

/** The highest of them. */
export function highest(scores: readonly (number | null | undefined)[]): number | undefined {
  const known = scores.filter((score): score is number => typeof score === "number");
  return known.length > 0 ? Math.max(...known) : undefined;
}
