/** By which name the command was started: kubectl finds its plugins, and their completion, by the names of files. */
import { basename } from "node:path";

export type Invocation = "hullmark" | "kubectl-plugin" | "kubectl-completion";

const FILES: Readonly<Record<string, Invocation>> = { "kubectl-hullmark": "kubectl-plugin", "kubectl_complete-hullmark": "kubectl-completion" };

/** @param argv as of the process; its second is the file, by the name of the link where it is one @param argv0 what the starting program called it */
export function invocationOf(argv: readonly string[], argv0: string): Invocation {
  for (const path of [argv0, argv[1] ?? ""]) {
    const found = FILES[basename(path).replace(/\.[jt]s$/, "")];
    if (found) return found;
  }
  return "hullmark";
}
