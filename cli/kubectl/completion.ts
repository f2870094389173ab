/** What kubectl's completion asks of the plugin's (`kubectl_complete-hullmark`): words for the one under the cursor, from the commands themselves. */
import type { Command, Option } from "commander";

/** Cobra's directive by which the shell offers no file names instead. */
const NO_FILES = ":4";

/** @param words what stands after `kubectl hullmark`; the last is the one to complete, empty where none was begun @returns lines for kubectl */
export function completions(root: Command, words: readonly string[]): string {
  const begun = words.at(-1) ?? "";
  let command = root;
  for (let index = 0; index < words.length - 1; index++) {
    const word = words[index] ?? "";
    const option = optionsOf(command, root).find(({ short, long }) => short === word || long === word);
    // The word after it is its value.
    if (option?.required) index++;
    else command = command.commands.find((child) => child.name() === word) ?? command;
  }
  const before = words.at(-2);
  const valued = before && optionsOf(command, root).find(({ short, long, required }) => required && (short === before || long === before));
  const offered = valued ? (valued.argChoices ?? []).map((choice): Offer => [choice, ""]) : offers(command, root);
  const lines = offered.filter(([word]) => word.startsWith(begun)).map(([word, text]) => (text === "" ? word : `${word}\t${text}`));
  return `${[...lines, NO_FILES].join("\n")}\n`;
}

type Offer = readonly [word: string, description: string];

function offers(command: Command, root: Command): readonly Offer[] {
  const children = command.commands.map((child): Offer => [child.name(), child.description()]);
  const choices = command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []).map((choice): Offer => [choice, ""]);
  const options = optionsOf(command, root).flatMap(({ long, description }): Offer[] => (long ? [[long, description]] : []));
  return [...children, ...choices, ...options, ["--help", "how to use it"]];
}

function optionsOf(command: Command, root: Command): readonly Option[] {
  return command === root ? root.options : [...command.options, ...root.options];
}
