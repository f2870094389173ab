/** The vocabulary of drift is closed: every kind has code that makes it and a place in the documentation, and neither knows another. */
import { readdirSync, readFileSync } from "node:fs";
import { ALL_KINDS } from "@hullmark/verifier/core/policy/kinds";
import { expect, test } from "vitest";

const root = new URL("../../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), "utf8");
const sorted = (names: Iterable<string>): string[] => [...new Set(names)].sort();

/** Words within backticks. */
const words = (text: string): string[] => [...text.matchAll(/`([a-z][a-z-]+)`/g)].map(([, word = ""]) => word);

/** Modules that make findings: the table of severities and the types only name kinds. */
const FINDERS = ["verifier/core/appraisal/", "verifier/core/measured-boot/", "verifier/core/ima/", "verifier/core/admission/", "verifier/core/pods/"].flatMap(
  (folder) =>
    readdirSync(new URL(folder, root))
      .filter((name) => !["severity.ts", "types.ts"].includes(name))
      .map((name) => folder + name),
);

test("each kind is made by some code", () => {
  const code = [...FINDERS, "verifier/core/fleet/node-appraisal.ts"].map(read).join("\n");
  // A key of a table counts as well as a word: the tables of places and of signatures are how those kinds are made.
  const made = ALL_KINDS.filter((kind) => new RegExp(`"${kind}"|^\\s+${kind}: `, "m").test(code));
  expect(sorted(made)).toEqual(sorted(ALL_KINDS));
});

test("the policy's reference lists exactly these", () => {
  const table = read("docs/policy.md").match(/\| kinds \| \|\n\|---\|---\|\n((?:\|.*\n)+)/)?.[1] ?? "";
  expect(sorted(words(table))).toEqual(sorted(ALL_KINDS));
});

test("docs/drift-kinds.md explains each", () => {
  const explained = new Set(words(read("docs/drift-kinds.md")));
  expect(ALL_KINDS.filter((kind) => !explained.has(kind))).toEqual([]);
});
