/** Two contents of one file, line by line. Both are whoever's who made them: nothing is concluded from what they say. */
import { isUtf8 } from "node:buffer";
import { formatPatch, OMIT_HEADERS, structuredPatch } from "diff";

export interface TextDiff {
  /** Hunks of a unified diff; empty: neither differs, or `binary`. */
  readonly hunks: string;
  /** Either is no UTF-8, or holds NUL: no lines are shown. */
  readonly binary: boolean;
}

const CONTEXT_LINES = 3;
/** What differs by more lines, or takes longer to compare, is shown as all of the one and then all of the other. */
const MAX_EDITED_LINES = 10_000;
const MAX_MS = 250;
/** Of both together: of more, splitting and printing take longer than comparing may, while nobody else is answered. */
export const MAX_LINES = 100_000;
const LINE_FEED = 0x0a;

/** @param before undefined: there was none @param after undefined: there is none @returns undefined: they have more than {@link MAX_LINES} lines */
export function textDiff(before: Buffer | undefined, after: Buffer | undefined): TextDiff | undefined {
  const [from, to] = [before ?? Buffer.alloc(0), after ?? Buffer.alloc(0)];
  if (!isText(from) || !isText(to)) return { hunks: "", binary: true };
  if (linesOf(from) + linesOf(to) > MAX_LINES) return undefined;
  const [was, is] = [from.toString("utf8"), to.toString("utf8")];
  const bounds = { context: CONTEXT_LINES, maxEditLength: MAX_EDITED_LINES, timeout: MAX_MS };
  const patch = structuredPatch("", "", was, is, undefined, undefined, bounds);
  if (!patch) return { hunks: replaced(was, is), binary: false };
  return { hunks: patch.hunks.length > 0 ? formatPatch(patch, OMIT_HEADERS) : "", binary: false };
}

function linesOf(content: Buffer): number {
  let lines = 1;
  for (let at = content.indexOf(LINE_FEED); at >= 0; at = content.indexOf(LINE_FEED, at + 1)) lines++;
  return lines;
}

function isText(content: Buffer): boolean {
  return isUtf8(content) && !content.includes(0);
}

function replaced(was: string, is: string): string {
  const all = { ...structuredPatch("", "", was, "", undefined, undefined, { context: 0 }) };
  const hunks = [...all.hunks, ...structuredPatch("", "", "", is, undefined, undefined, { context: 0 }).hunks];
  return formatPatch({ ...all, hunks }, OMIT_HEADERS);
}
