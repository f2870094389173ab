import { stripVTControlCharacters } from "node:util";

/** What is shown of failures at the end of a run, of which logs of continuous integration may keep no more than the last screens. */

/** Lines of all failures together, and of each. */
const MAX_LINES = 120;
const MAX_LINES_EACH = 40;
const MIN_LINES_EACH = 6;
/** Of one line. */
const MAX_CHARACTERS = 400;

/** How many failures are shown, and how many lines of each. */
export function shareOf(failures: number): { readonly count: number; readonly lines: number } {
  const count = Math.min(failures, MAX_LINES / MIN_LINES_EACH);
  return { count, lines: Math.min(MAX_LINES_EACH, Math.floor(MAX_LINES / Math.max(1, count))) };
}

/** The beginning and the end of a text, in so many lines at most. */
export function excerpt(text: string, maxLines: number): string {
  const lines = text.trimEnd().split("\n").map(cut);
  if (lines.length <= maxLines) return lines.join("\n");
  const last = Math.floor(maxLines / 3);
  const first = maxLines - last - 1;
  return [...lines.slice(0, first), `… ${lines.length - first - last} lines …`, ...lines.slice(-last)].join("\n");
}

/** Of a log, which tells at its end why it ended. */
export function lastLines(text: string): string {
  return stripVTControlCharacters(text).trimEnd().split("\n").slice(-MAX_LINES_EACH).join("\n");
}

function cut(line: string): string {
  return line.length <= MAX_CHARACTERS ? line : `${line.slice(0, MAX_CHARACTERS).toWellFormed()}…`;
}
