/** A diff of a file's content, which whoever runs the container has chosen: no line of it reaches a terminal or a page but as harmless text. */
import type { DiffDriftResponse } from "@hullmark/proto/v1/admin";
import { printable } from "@hullmark/verifier/core/text/printable";

export interface DiffLine {
  readonly kind: "hunk" | "added" | "removed" | "same" | "note";
  /** Printable, with the sign that a unified diff gives it; tabs and backslashes as they are. */
  readonly text: string;
}

/** Characters of a line that are shown. */
const MAX_LINE_CHARS = 4000;
const KINDS: Readonly<Record<string, DiffLine["kind"]>> = { "@": "hunk", "+": "added", "-": "removed", " ": "same", "\\": "note" };

export function diffLines({ hunks }: Pick<DiffDriftResponse, "hunks">): readonly DiffLine[] {
  // Lines end where the diff says: a carriage return is a character of its line.
  const lines = hunks.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((line) => ({
    kind: KINDS[line.charAt(0)] ?? "note",
    text: shown(line.length > MAX_LINE_CHARS ? `${line.slice(0, MAX_LINE_CHARS)}…` : line),
  }));
}

/** What is to be said where there are no lines, or beside them. */
export function diffSummary({ binary, hunks, sizeBefore, sizeAfter }: Pick<DiffDriftResponse, "binary" | "hunks" | "sizeBefore" | "sizeAfter">): string {
  const bytes = (size: bigint | undefined, none: string): string => (size === undefined ? none : `${size} bytes`);
  const sizes = `${bytes(sizeBefore, "not in the image")} → ${bytes(sizeAfter, "removed")}`;
  if (binary) return `no text (not UTF-8, or with NUL): ${sizes}`;
  return hunks === "" ? `the text is the same: ${sizes}` : `- as signed, + as it is there · ${sizes}`;
}

/** Control characters and what turns a line around as codes. */
function shown(line: string): string {
  return line
    .split(/([\t\\]+)/)
    .map((part, at) => (at % 2 === 1 ? part : printable(part, 10 * MAX_LINE_CHARS)))
    .join("");
}
