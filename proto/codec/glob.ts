/**
 * Globs over bytes, the one kind that policy knows. `?` is one byte other than `/`, `*` any run of bytes without `/` (also none),
 * `**` any run of bytes with or without `/` (also none), `**\/` at the start of a component any number of whole components (also none);
 * `\` takes the next byte literally; every other byte stands for itself, and the whole name must match. There is no `[]` or `{}`.
 * The node's measurer follows the same rules (test/vectors/policy-glob.json). Here a path is matched with its leading slash, there without;
 * the leading slash of a pattern counts accordingly.
 */
import { CodecError } from "./errors.ts";

export const MAX_GLOB_BYTES = 1024;

const SLASH = 0x2f;
const BACKSLASH = 0x5c;
const STAR = 0x2a;
const QUESTION = 0x3f;

const ANY_BYTE = 256;
const ANY_RUN = 257;
const ANY_DEEP_RUN = 258;
/** `**\/`: into the loop that follows, or past it. */
const DIRECTORIES = 259;
const DIRECTORIES_LOOP = 260;

/** Does the name match? Takes at most (bytes of the name) × (tokens of the glob) steps, whoever chose either. */
export type GlobMatcher = (name: Uint8Array) => boolean;

/** @throws CodecError BAD_GLOB for an empty glob, one of more than 1,024 bytes, one with NUL, or three stars in a row */
export function compileGlob(glob: string): GlobMatcher {
  const bytes = Buffer.from(glob);
  if (bytes.length === 0) throw new CodecError("BAD_GLOB", "the glob is empty");
  if (bytes.length > MAX_GLOB_BYTES) throw new CodecError("BAD_GLOB", `${bytes.length} bytes, limit ${MAX_GLOB_BYTES}`);
  if (bytes.includes(0)) throw new CodecError("BAD_GLOB", "NUL");
  if (glob.replaceAll(/\\./gs, "").includes("***"))
    throw new CodecError("BAD_GLOB", "three stars in a row: `*` stays within one directory, `**` goes below it");
  const tokens = tokenize(bytes);
  const firstWild = tokens.findIndex((token) => token >= ANY_BYTE);
  const prefix = Buffer.from(firstWild < 0 ? tokens : tokens.slice(0, firstWild));
  if (firstWild < 0) return (name) => prefix.equals(name);
  const rest = tokens.slice(firstWild);
  return (name) => startsWith(name, prefix) && matchTokens(rest, name, prefix.length);
}

/** Matches a string by its UTF-8 bytes against any of the globs. */
export function compileNames(globs: readonly string[]): (name: string) => boolean {
  const matchers = globs.map(compileGlob);
  return (name) => matchers.length > 0 && anyMatch(matchers, Buffer.from(name));
}

export function anyMatch(matchers: readonly GlobMatcher[], name: Uint8Array): boolean {
  return matchers.some((matches) => matches(name));
}

function tokenize(bytes: Buffer): number[] {
  const tokens: number[] = [];
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    const next = bytes[i + 1];
    if (byte === BACKSLASH && next !== undefined) {
      tokens.push(next);
      i++;
    } else if (byte === QUESTION) {
      tokens.push(ANY_BYTE);
    } else if (byte !== STAR) {
      tokens.push(byte);
    } else if (next !== STAR) {
      tokens.push(ANY_RUN);
    } else if ((i === 0 || bytes[i - 1] === SLASH) && bytes[i + 2] === SLASH) {
      tokens.push(DIRECTORIES, DIRECTORIES_LOOP);
      i += 2;
    } else {
      tokens.push(ANY_DEEP_RUN);
      i++;
    }
  }
  return tokens;
}

function startsWith(name: Uint8Array, prefix: Uint8Array): boolean {
  if (name.length < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) if (name[i] !== prefix[i]) return false;
  return true;
}

/** Walks all positions in the glob that the name read so far can have led to: no backtracking, so no exponential case. */
function matchTokens(tokens: readonly number[], name: Uint8Array, from: number): boolean {
  let states = new Uint8Array(tokens.length + 1);
  let next = new Uint8Array(tokens.length + 1);
  states[0] = 1;
  skipRuns(tokens, states);
  for (let at = from; at < name.length; at++) {
    const byte = name[at] as number;
    next.fill(0);
    let alive = false;
    for (let i = 0; i < tokens.length; i++) {
      if (states[i] === 0) continue;
      const token = tokens[i] as number;
      const stays = token === ANY_DEEP_RUN || token === DIRECTORIES_LOOP || (token === ANY_RUN && byte !== SLASH);
      const steps = token === byte || (token === ANY_BYTE && byte !== SLASH) || (token === DIRECTORIES_LOOP && byte === SLASH);
      if (stays) next[i] = 1;
      if (steps) next[i + 1] = 1;
      alive ||= stays || steps;
    }
    if (!alive) return false;
    skipRuns(tokens, next);
    [states, next] = [next, states];
  }
  return states[tokens.length] === 1;
}

/** Marks what can be reached without reading a byte: behind a run, into or past a run of directories. */
function skipRuns(tokens: readonly number[], states: Uint8Array): void {
  for (let i = 0; i < tokens.length; i++) {
    if (states[i] === 0) continue;
    const token = tokens[i];
    if (token === ANY_RUN || token === ANY_DEEP_RUN || token === DIRECTORIES) states[i + 1] = 1;
    if (token === DIRECTORIES) states[i + 2] = 1;
  }
}
