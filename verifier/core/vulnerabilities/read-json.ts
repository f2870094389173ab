/** A report's bytes as JSON: bounded in size and depth, in UTF-8, and without a member that is named twice (which two readers would read as two things). */
import { ReportError } from "./errors.ts";

export const MAX_REPORT_BYTES = 16 * 1024 * 1024;
const MAX_DEPTH = 64;

/** @throws ReportError MALFORMED, TOO_LARGE */
export function readJson(bytes: Uint8Array): unknown {
  if (bytes.length > MAX_REPORT_BYTES) throw new ReportError("TOO_LARGE", `${bytes.length} bytes, limit ${MAX_REPORT_BYTES}`);
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    checkDepth(text);
    value = JSON.parse(text);
  } catch (cause) {
    if (cause instanceof ReportError) throw cause;
    throw new ReportError("MALFORMED", "not JSON in UTF-8", { cause });
  }
  checkMembers(text);
  return value;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Before it is parsed, which takes some thirty bytes of memory a bracket. @param text of which nothing is known */
function checkDepth(text: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '"') at = endOfString(text, at) - 1;
    else if (character === "]" || character === "}") depth--;
    else if ((character === "[" || character === "{") && ++depth > MAX_DEPTH) throw new ReportError("TOO_LARGE", `deeper than ${MAX_DEPTH} levels`);
  }
}

/** @param text valid JSON, no deeper than {@link MAX_DEPTH} */
function checkMembers(text: string): void {
  // Names of the objects that are open; undefined: an array.
  const open: (Set<string> | undefined)[] = [];
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === "{" || character === "[") {
      open.push(character === "{" ? new Set() : undefined);
    } else if (character === "}" || character === "]") open.pop();
    else if (character === '"') {
      const end = endOfString(text, at);
      const names = open.at(-1);
      if (names && isName(text, end)) {
        const quoted = text.slice(at, end);
        const name = quoted.includes("\\") ? String(JSON.parse(quoted)) : quoted.slice(1, -1);
        if (names.has(name)) throw new ReportError("MALFORMED", `the member ${JSON.stringify(name.slice(0, 64))} stands twice in one object`);
        names.add(name);
      }
      at = end - 1;
    }
  }
}

/** @returns the index after the quote that ends the string which begins at `start`; beyond the text where none does */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text.charCodeAt(at) !== QUOTE) at += text.charCodeAt(at) === BACKSLASH ? 2 : 1;
  return at + 1;
}

function isName(text: string, end: number): boolean {
  let at = end;
  while (text[at] === " " || text[at] === "\n" || text[at] === "\r" || text[at] === "\t") at++;
  return text[at] === ":";
}
