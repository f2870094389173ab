/** The link by which `hullmark status` finds this host's verifier without being told. */
import { lstatSync, mkdirSync, readlinkSync, rmdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname } from "node:path";
import type { Layout } from "./layout.ts";

export interface CommandConfig {
  /** The link; null where another configuration stands in its place, which is left alone. */
  readonly link: string | null;
  readonly created: string | undefined;
}

/** Idempotent. */
export function linkCommandConfig(path: string, { adminConfig }: Layout): CommandConfig {
  if (isOurs(path, adminConfig)) return { link: path, created: undefined };
  if (lstatSync(path, { throwIfNoEntry: false })) return { link: null, created: undefined };
  const created = mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  symlinkSync(adminConfig, path);
  return { link: path, created };
}

export function unlinkCommandConfig(path: string, { adminConfig }: Layout): void {
  if (isOurs(path, adminConfig)) rmSync(path);
}

/** Removes directories that `up` has made and that are empty again, from the innermost outwards. */
export function removeEmptyDirectories(innermost: string, topmost: string): void {
  for (let directory = innermost; directory === topmost || directory.startsWith(`${topmost}/`); directory = dirname(directory)) {
    try {
      rmdirSync(directory);
    } catch (error) {
      // Someone else keeps something there by now.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") return;
    }
  }
}

function isOurs(path: string, target: string): boolean {
  try {
    return readlinkSync(path) === target;
  } catch {
    return false;
  }
}
