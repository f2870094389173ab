/** Names of what a host or node keeps of captures, and its end: which comes also where nothing is captured any more. */
import { readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

export interface Keeping {
  readonly directory: string;
  readonly keepHours: number;
  readonly nowMs: () => number;
}

export interface OwnFile {
  readonly path: string;
  readonly mtimeMs: number;
  readonly size: number;
}

export const HOUR_MS = 3_600_000;
/** Action, what it was taken for, changed paths and processes that are in it: all that is told of one is there from the moment that it is. */
export const NAME = /^A-[0-9A-Z]{4,16}\.([0-9a-f]{32})(?:\.(\d{1,7})f(\d{1,7})p)?(\.partial)?\.age$/;
/** Written and renamed in one go: whatever else is seen of it was left by a process that ended. */
export const HALF_WRITTEN = ".new";
export const ATTEMPTS = ".attempts";
/** Longer than anybody asks again for the same. */
const ATTEMPTS_MS = HOUR_MS;
const UNFINISHED = /^[0-9a-f]{32}\.(?:attempts|new)$/;

/**
 * Removes what was kept for long enough, and what a process that ended meanwhile left half-written; what others keep there stays. No directory holds nothing.
 * @throws the system's error for what cannot be removed, when the rest is
 */
export function expireCaptures({ directory, keepHours, nowMs }: Keeping): void {
  const now = nowMs();
  const failures: unknown[] = [];
  for (const { path, mtimeMs } of ownFiles(directory)) {
    try {
      if (now - mtimeMs > lifetimeMs(path, keepHours)) rmSync(path, { force: true });
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** Files of ours; one may be removed at any time. @throws the system's error */
export function ownFiles(directory: string): OwnFile[] {
  return namesIn(directory).flatMap((name) => {
    if (!NAME.test(name) && !UNFINISHED.test(name)) return [];
    const path = join(directory, name);
    const found = statSync(path, { throwIfNoEntry: false });
    return found ? [{ path, mtimeMs: found.mtimeMs, size: found.size }] : [];
  });
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function lifetimeMs(path: string, keepHours: number): number {
  if (path.endsWith(HALF_WRITTEN)) return Number.NEGATIVE_INFINITY;
  return path.endsWith(ATTEMPTS) ? ATTEMPTS_MS : keepHours * HOUR_MS;
}
