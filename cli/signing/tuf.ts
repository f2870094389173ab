/** A sigstore trust root out of a TUF repository (https://theupdateframework.github.io/specification/): the library verifies, here is what it may fetch and where its memory lies. */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "../output/replace-file.ts";
import { SigningError } from "./errors.ts";

export interface TufSource {
  /** Of the metadata; targets are below `targets/`. Stands in messages: without user and password. */
  readonly url: string;
  /** Name of the target, for example `trusted_root.json`. */
  readonly target: string;
  /** root.json to begin with; undefined where `directory` has one already, by which it goes on. */
  readonly rootFile: string | undefined;
  /** What was verified before: by it an older state, and a root that its predecessor did not sign, are refused. */
  readonly directory: string;
}

const MAX_TARGET_BYTES = 1 << 20;
const MAX_ROOT_BYTES = 1 << 20;
const FETCH_TIMEOUT_MS = 30_000;
/** New roots that are followed in one go; each is signed by the one before. */
const MAX_ROOTS = 64;

/**
 * The target as the repository's newest, verified metadata names it. Once that has worked, the directory is brought up to date with what was verified, also where the target then cannot be had.
 * @throws SigningError USAGE without a root to begin with, or with a second one; FETCH where nothing was to be had, or does not verify
 */
export async function fetchTrustRoot({ url, target, rootFile, directory }: TufSource): Promise<string> {
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const root = join(directory, "root.json");
  const begins = !existsSync(root);
  if (!begins && rootFile !== undefined)
    throw new SigningError("USAGE", `${directory} has a root already, and goes on by it: leave --root out, or remove ${directory} to begin anew`);
  if (begins) {
    if (rootFile === undefined)
      throw new SigningError("USAGE", `${directory} has no root yet: give the repository's root.json by --root, from where you trust it`);
    replaceFile(root, firstRoot(rootFile), 0o644);
  }
  try {
    const base = url.replace(/\/+$/, "");
    const config = { maxRootRotations: MAX_ROOTS, fetchTimeout: FETCH_TIMEOUT_MS, fetchRetries: 2, userAgent: "hullmark" };
    // Loaded where it is needed: every other command starts faster without it.
    const { Updater } = await import("tuf-js");
    const updater = new Updater({ metadataDir: directory, metadataBaseUrl: base, targetBaseUrl: `${base}/targets`, targetDir: directory, config });
    await updater.refresh();
    const info = await updater.getTargetInfo(target);
    if (!info) throw new Error(`its metadata names no target ${JSON.stringify(target)}`);
    if (info.length > MAX_TARGET_BYTES) throw new Error(`${target} has ${info.length} bytes, limit ${MAX_TARGET_BYTES}`);
    return readFileSync(await updater.downloadTarget(info, join(directory, "target.json")), "utf8");
  } catch (cause) {
    // A root by which nothing could be had yet is none to go on by.
    if (begins) rmSync(root, { force: true });
    throw new SigningError("FETCH", `${url}: ${wordsOf(cause)}`, { cause });
  }
}

function firstRoot(file: string): Buffer {
  try {
    const bytes = readFileSync(file);
    if (bytes.length > MAX_ROOT_BYTES) throw new Error(`${bytes.length} bytes, limit ${MAX_ROOT_BYTES}`);
    return bytes;
  } catch (cause) {
    throw new SigningError("FILE", `${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

/** `fetch` says no more than that it failed; why is behind it. */
function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const name = error.name === "Error" || error.name === "TypeError" ? "" : `${error.name}: `;
  return `${name}${error.message}${error.cause instanceof Error ? ` (${error.cause.message})` : ""}`;
}
