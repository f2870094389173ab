/** A training lab of the documentation: its blocks of commands, done in one shell as the reader does them, and what each is to print. */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { REPOSITORY } from "../../deploy/testbed/paths.ts";

interface Step {
  readonly heading: string;
  readonly commands: string;
  /** Lines that are printed, in this order and with any others between them; `…` stands for any characters. */
  readonly printed: readonly string[];
}

export interface LabRun {
  readonly code: number | null;
  /** What was printed outside of all blocks. */
  readonly text: string;
}

export interface LabOutcome extends LabRun {
  /** By block. */
  readonly outputs: readonly string[];
  /** A block that did not print what the document shows: its heading, the first line that is missing, and all that it printed. */
  readonly missing: readonly string[];
}

/** @throws Error where a block did not print what the document shows, or said that something is wrong: with the whole of that block */
export function assertDone({ code, text, outputs, missing }: LabOutcome): void {
  if (missing.length > 0) throw new Error(missing.join("\n\n"));
  expect({ code, text }, outputs.at(-1)).toEqual({ code: 0, text: "" });
  for (const output of outputs) expect(output).not.toMatch(/command not found|^hullmark: /m);
}

/**
 * @param document below the repository
 * @param directory for what the blocks print
 * @param run has a script of bash done, in one shell
 */
export async function doLab(document: string, directory: string, run: (script: string) => Promise<LabRun>): Promise<LabOutcome> {
  const all = steps(readFileSync(join(REPOSITORY, document), "utf8"));
  if (all.length < 5) throw new Error(`${document} has no blocks of commands`);
  mkdirSync(directory, { recursive: true });
  const outputOf = (step: number): string => join(directory, `block-${step}.out`);
  // One shell, as the reader has: what a block sets, the next has. A command that says so by 1 or more (`drift ls`) does not end it.
  const script = all.map(({ commands }, i) => `{\n${commands}\n} > ${outputOf(i)} 2>&1`).join("\n");
  const ran = await run(`set -u\n${script}`);
  const outputs = all.map((_step, i) => (existsSync(outputOf(i)) ? readFileSync(outputOf(i), "utf8") : "(not reached)"));
  const missing = all.flatMap(({ heading, printed }, i) => {
    const line = missingOf(printed, outputs[i] ?? "");
    return line === undefined ? [] : [`${heading}: not printed: ${line}\n${outputs[i]}`];
  });
  return { ...ran, outputs, missing };
}

function steps(markdown: string): readonly Step[] {
  const found: Step[] = [];
  let heading = "Before all";
  for (const [, title, language, body = ""] of markdown.matchAll(/^## ([^\n]*)$|^```(\w+)\n(.*?)^```$/gms)) {
    const before = found.at(-1);
    if (title !== undefined) heading = title;
    else if (language === "sh") found.push({ heading, commands: body, printed: [] });
    else if (language === "text" && before) found[found.length - 1] = { ...before, printed: body.trimEnd().split("\n") };
    else throw new Error(`a block that is neither run nor held against anything: ${language}`);
  }
  return found;
}

function missingOf(printed: readonly string[], text: string): string | undefined {
  const lines = text.split("\n");
  for (const line of printed) {
    const parts = line.split("…").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const at = lines.findIndex((each) => new RegExp(`^${parts.join(".*")}$`).test(each.trimEnd()));
    if (at < 0) return line;
    lines.splice(0, at + 1);
  }
  return undefined;
}
