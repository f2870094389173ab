/** Compiled code of the command, kept from one run to the next. Whoever can write it decides what the command does: it lies where nobody else can, or there is none. */
import { chmodSync, existsSync, lstatSync, mkdirSync, realpathSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { dirname, isAbsolute, join } from "node:path";

/**
 * Has Node keep what it compiles from now on under `$XDG_CACHE_HOME/hullmark` (`~/.cache/hullmark`). Node takes nothing of another version of itself, of another source or that is
 * damaged, and does without where nothing can be written; `NODE_DISABLE_COMPILE_CACHE=1` turns it off.
 * @returns the folder; undefined: none is used
 */
export function keepCompiled({ HOME, XDG_CACHE_HOME }: Readonly<Record<string, string | undefined>>): string | undefined {
  const base = XDG_CACHE_HOME || (HOME && join(HOME, ".cache"));
  if (!base || !isAbsolute(base)) return undefined;
  try {
    const folder = join(base, "hullmark");
    // One after the other: where a file system makes none (procfs), Node's recursive way goes on for ever.
    for (const each of [base, folder]) {
      if (existsSync(each)) continue;
      if (!isOurs(realpathSync(dirname(each)))) return undefined;
      mkdirSync(each, { mode: 0o700 });
    }
    const real = realpathSync(folder);
    if (!isOurs(real)) return undefined;
    // Node makes its own folder in it as the umask has it, which may let a group write.
    chmodSync(real, 0o700);
    enableCompileCache(real);
    return real;
  } catch {
    // No such home, or nothing to be written there: as good as a first run.
    return undefined;
  }
}

/** Whether this user and root alone can write to a folder and to what it lies in. Where several may, each can move away only what is its own (sticky). */
function isOurs(folder: string): boolean {
  const own = process.geteuid?.();
  if (own === undefined) return false;
  for (let at = folder; ; at = dirname(at)) {
    const { uid, mode } = lstatSync(at);
    const shared = (mode & 0o022) !== 0;
    const sticky = at !== folder && (mode & 0o1000) !== 0;
    if ((uid !== own && uid !== 0) || (shared && !sticky) || (at === folder && uid !== own)) return false;
    if (at === dirname(at)) return true;
  }
}
