/** What the documentation tells people to type exists: commands with their options, scripts, files. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { DriftSchema, GetStatusResponseSchema, ImageSchema, NodeSchema, WorkloadSchema } from "@hullmark/proto/v1/query";
import { driftView, imageView, nodeView, statusView, workloadView } from "hullmark/output/views";
import { program } from "hullmark/program";
import { describe, expect, test } from "vitest";

/** By way of the CLI, whose version of commander it is. */
type Command = Awaited<ReturnType<typeof program>>;
const whole = await program();

const root = new URL("../../", import.meta.url).pathname;
const pages = execFileSync("git", ["ls-files", "*.md"], { cwd: root, encoding: "utf8" }).trim().split("\n");
const read = (path: string): string => readFileSync(join(root, path), "utf8");

/** Lines of code: fenced, indented, and within backticks. */
function code(text: string): string[] {
  const fenced = [...text.matchAll(/^```[a-z]*\n([\s\S]*?)^```/gm)].map(([, block = ""]) => block);
  const prose = text.replace(/^```[\s\S]*?^```/gm, "");
  const indented = [...prose.matchAll(/^ {4}(\S.*)$/gm)].map(([, line = ""]) => line);
  const inline = [...prose.matchAll(/`([^`\n]+)`/g)].map(([, words = ""]) => words);
  return [...fenced.flatMap((block) => block.split("\n")), ...indented, ...inline];
}

/** Calls of the command on a line: its words up to a comment, a separator or what stands for "and so on". */
function calls(line: string): string[][] {
  return line
    .replace(/\s#.*$/, "")
    .split(/&&|\|\||[;|·(]|\$\(/)
    .map((part) => part.trim().split(/\s+/))
    .flatMap((words) => {
      const at = words.indexOf("hullmark");
      return at >= 0 && words.slice(0, at).every((word) => /^(sudo|npx|eval|[A-Z_]+=\S*)$/.test(word)) ? [words.slice(at + 1)] : [];
    });
}

/** @returns what is wrong with a call, or undefined */
function mistake(command: Command, words: readonly string[]): string | undefined {
  let at = command;
  const known = ["--help", "-h", "--version", ...at.options.flatMap(({ long, short }) => [long, short])];
  for (const word of words) {
    // What follows is another program's.
    if (word === "--") return undefined;
    if (word.startsWith("-")) {
      const flag = /^(--?[a-zA-Z-]+)/.exec(word)?.[1] ?? word;
      if (!known.includes(flag)) return `${at.name()} has no ${flag}`;
      continue;
    }
    if (at.commands.length === 0) continue;
    // A placeholder stands for any.
    if (/^(COMMAND|…)/.test(word)) return undefined;
    const next = at.commands.find((child) => child.name() === word);
    if (next === undefined) return `${at.name()} has no ${word}`;
    at = next;
    known.push(...at.options.flatMap(({ long, short }) => [long, short]));
  }
  return undefined;
}

test("a call that is not there is seen", () => {
  const wrong = code("`hullmark drift list`, `sudo hullmark up --forever`\n```\nhullmark status; hullmark driftt ls # not `hullmark x`\n```\n");
  expect(wrong.flatMap(calls).map((words) => mistake(whole, words))).toEqual([undefined, "hullmark has no driftt", "drift has no list", "up has no --forever"]);
  expect(pages.map(read).flatMap(code).flatMap(calls).length).toBeGreaterThan(20);
});

describe.each(pages)("%s", (page) => {
  const text = read(page);

  test("commands and options exist", () => {
    const wrong = code(text)
      .flatMap(calls)
      .flatMap((words) => mistake(whole, words) ?? []);
    expect(wrong).toEqual([]);
  });

  test("scripts exist", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    const named = code(text).flatMap((line) => [...line.matchAll(/npm run ([a-z:-]+)/g)].map(([, name = ""]) => name));
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  });

  test("links lead somewhere", () => {
    const links = [...text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)].map(([, link = ""]) => link).filter((link) => !/^[a-z]+:/.test(link));
    expect(links.filter((link) => !existsSync(join(root, dirname(page), link)))).toEqual([]);
  });
});

test("docs/cli.md names every command", () => {
  const section = read("docs/cli.md").match(/## Commands\n([\s\S]*?)\n## /)?.[1] ?? "";
  const named = new Set([...section.matchAll(/`([a-z-]+)/g)].map(([, name]) => name));
  expect(whole.commands.map((command) => command.name()).filter((name) => !named.has(name))).toEqual([]);
});

test("docs/cli.md says of every command with -o what it takes: the same four words", () => {
  expect(read("docs/cli.md")).toContain("\n`-o table|wide|json|yaml`");
  const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
  const odd = all(whole).flatMap((command) =>
    command.options
      .filter(({ short, parseArg }) => short === "-o" && ["table", "wide", "json", "yaml"].some((word) => parseArg?.(word, undefined) !== word))
      .map(() => command.name()),
  );
  expect(odd).toEqual([]);
});

test.each([
  ["Status", statusView(create(GetStatusResponseSchema))],
  ["A node", nodeView(create(NodeSchema))],
  ["A workload", workloadView(create(WorkloadSchema))],
  ["An image", imageView(create(ImageSchema))],
  ["A drift", driftView(create(DriftSchema))],
])("docs/cli.md has every member of the JSON that is stable: %s", (what, view) => {
  const listed =
    read("docs/cli.md")
      .split(`\n${what}: `)[1]
      ?.split(/\n(?:An? |Status)/)[0] ?? "";
  const members = (value: object): string[] =>
    Object.entries(value).flatMap(([name, inner]) => [name, ...(inner !== null && typeof inner === "object" && !Array.isArray(inner) ? members(inner) : [])]);
  expect(members(view).filter((name) => !new RegExp(`\\b${name}\\b`).test(listed))).toEqual([]);
});
