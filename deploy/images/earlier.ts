/** Chart and images of an earlier commit of this repository: what an upgrade comes from. */
import { hash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./command.ts";

/**
 * As no version is published yet: a commit whose database, protocol and chart differ from today's. It stays until a release takes its place.
 */
export const EARLIER_COMMIT = "c2b031414918bf5bd6c52ffc5fa85e59e7b37602";

/**
 * Of that commit what its chart is and its images are built from, as a clone without history has none of it: `git archive COMMIT PATH… | xz`. Where
 * the commit is there it can be compared; `xz -dc FILE | git get-tar-commit-id` says which one it was.
 */
const SOURCES = join(import.meta.dirname, "earlier.tar.xz");

/** What there is of it, kept: the shipped programs (`dist`), the chart, and its images as an OCI layout. */
export const earlierRelease = (state: string) => ({
  dist: join(state, "earlier/dist"),
  chart: join(state, "earlier/chart"),
  layout: join(state, "earlier/images"),
});

/**
 * Builds it by its own scripts and lock file, in a folder of its own that goes when it is done: some minutes, once.
 * @param state folder that keeps it, and the Debian packages that other builds of images keep there too @param sources archive that it is built from; with other bytes it is built anew
 * @param kept folder in which checkouts of the same user find what another built @throws the error of the program that fails; the next call begins anew
 */
export async function buildEarlier(state: string, { sources = SOURCES, kept }: { sources?: string; kept?: string | undefined } = {}): Promise<void> {
  const folder = join(state, "earlier");
  // By what it is built from: the archive may be made anew of the same commit, with more of it.
  const complete = `complete-${hash("sha256", readFileSync(sources))}`;
  if (existsSync(join(folder, complete))) return;
  rmSync(folder, { recursive: true, force: true });
  if (kept !== undefined && existsSync(join(kept, complete))) return copyWhole(kept, folder, complete);
  const source = join(folder, "source");
  mkdirSync(source, { recursive: true });
  await run("tar", ["--extract", "--xz", `--file=${sources}`], source);
  await commit(source);
  // Its own state folder, whatever that of this build is.
  await run("env", [`HULLMARK_STATE=${join(source, ".hullmark")}`, "bash", "deploy/setup.sh", "build"], source);
  const { dist, chart, layout } = earlierRelease(state);
  await run(join(source, "node_modules/.bin/node"), ["deploy/images/main.ts", "--output", layout, "--cache", join(state, "cache/debian")], source);
  cpSync(join(source, "dist"), dist, { recursive: true });
  cpSync(join(source, "deploy/helm/hullmark"), chart, { recursive: true });
  rmSync(source, { recursive: true, force: true });
  writeFileSync(join(folder, complete), "");
  if (kept === undefined) return;
  rmSync(kept, { recursive: true, force: true });
  copyWhole(folder, kept, complete);
}

/** What says that it is complete comes last. */
function copyWhole(from: string, to: string, complete: string): void {
  cpSync(from, to, { recursive: true, filter: (path) => path !== join(from, complete) });
  cpSync(join(from, complete), join(to, complete));
}

/** Images name the commit that they are of: without one of its own it would be this repository's. */
async function commit(source: string): Promise<void> {
  const who = ["user.name=Hullmark", "user.email=hullmark@localhost", "commit.gpgsign=false"].flatMap((setting) => ["-c", setting]);
  const git = (...args: string[]) => run("git", [...who, ...args], source);
  await git("init", "--quiet");
  await git("add", "--all", "--force");
  await git("commit", "--quiet", `--message=${EARLIER_COMMIT}`);
}
