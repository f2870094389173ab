/** By which name the command was started, since kubectl finds its plugins, and their completion, by the names of files; and how its reader therefore calls it. */
import { basename } from "node:path";
import type { Command } from "commander";

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

/** With it begins every command that is printed for people to type. */
export type Called = "hullmark" | "kubectl hullmark";

/** Whether the command runs as the plugin of kubectl: no file has its context. */
export function isPlugin(command: Command): boolean {
  return "release" in command.optsWithGlobals<object>();
}

export function calledAs(command: Command): Called {
  return isPlugin(command) ? "kubectl hullmark" : "hullmark";
}

/** Help in which `{}` stands for how the command is called. */
export function helpCalled(text: string): (context: { readonly command: Command }) => string {
  return ({ command }) => text.replaceAll("{}", calledAs(command));
}

/** What the verifier says, which does not know how its reader calls the command. @param text of the verifier's own, where others have at most given names in it */
export function asCalled(text: string, called: Called): string {
  return text.replace(/(?<!kubectl )\bhullmark (?=[a-z])/g, `${called} `);
}
