/** What people are told to type is a command that there is, by the name by which they call it: every hint in the sources of the command, and in what the verifier says. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { COMMANDS, HOST_COMMANDS } from "hullmark/commands/entries";
import { asCalled } from "hullmark/kubectl/invocation";
import { program } from "hullmark/program";
import { expect, test } from "vitest";
import { REPOSITORY } from "../../deploy/testbed/paths.ts";

/** Of the Docker host alone: there is one name for the command there. */
const OF_HOST = /^cli\/(host\/|commands\/(up|down|completion)\.ts|connection\/context\.ts)/;

type Command = Awaited<ReturnType<typeof program>>;

interface Source {
  readonly file: string;
  readonly code: string;
}

function sourcesOf(workspace: string): readonly Source[] {
  return readdirSync(join(REPOSITORY, workspace), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.includes("node_modules"))
    .map((name) => ({ file: `${workspace}/${name}`, code: withoutComments(readFileSync(join(REPOSITORY, workspace, name), "utf8")) }));
}

/** Comments stand on lines of their own here, or after code with a blank. */
const withoutComments = (code: string): string => code.replace(/^\s*\/\*\*?[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");

/** The words after a name of the command, as far as they can be names of commands: not of what is hashed (`hullmark incident v1`). */
function hintsOf({ file, code }: Source, name: RegExp): readonly (readonly [where: string, words: string])[] {
  return [...code.matchAll(new RegExp(`${name.source} (?![a-z]+ v\\d)([a-z][a-z-]*(?: [a-z][a-z-]*)?)(?![\\w-]*:)`, "g"))].map(([, words = ""]) => [
    file,
    words,
  ]);
}

const top = new Set([...HOST_COMMANDS, ...COMMANDS].map(({ name }) => name));
const BY_NAME = /(?<!kubectl )\bhullmark/;
const BY_VALUE = /(?:\$\{(?:asking\.)?(?:command|called)\}|(?<!\()\{\})/;

function lacks(root: Command, words: string): boolean {
  const [first = "", second = ""] = words.split(" ");
  const found = root.commands.find((each) => each.name() === first);
  return !found || (found.commands.length > 0 && !found.commands.some((each) => each.name() === second));
}

test("no hint of the command has a name for it of its own", async () => {
  const plugin = await program("kubectl-plugin");
  const cli = sourcesOf("cli").filter(({ file }) => !OF_HOST.test(file));
  const own = cli.flatMap((source) => hintsOf(source, BY_NAME)).filter(([, words]) => !lacks(plugin, words));
  expect(own).toEqual([]);
});

test("every hint names a command that there is, for whoever has the plugin alone too", async () => {
  const [command, plugin] = [await program("hullmark"), await program("kubectl-plugin")];
  const hints = sourcesOf("cli").flatMap((source) => hintsOf(source, BY_VALUE));
  expect(hints.length).toBeGreaterThan(25);
  expect(hints.filter(([, words]) => lacks(plugin, words))).toEqual([]);
  const said = ["verifier", "agent", "actuator"].flatMap((workspace) => sourcesOf(workspace)).flatMap((source) => hintsOf(source, BY_NAME));
  const named = said.filter(([, words]) => top.has(words.split(" ")[0] ?? ""));
  expect(named.length).toBeGreaterThan(40);
  expect(named.filter(([, words]) => lacks(command, words))).toEqual([]);
});

test("what the verifier says is told as its reader calls the command", () => {
  const said = "the key 1 is accepted still: hullmark keys retire ca (kubectl hullmark keys ls; hullmark.dev)";
  expect(asCalled(said, "hullmark")).toBe(said);
  expect(asCalled(said, "kubectl hullmark")).toBe("the key 1 is accepted still: kubectl hullmark keys retire ca (kubectl hullmark keys ls; hullmark.dev)");
});
