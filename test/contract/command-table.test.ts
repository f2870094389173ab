/** Commands are loaded when they are asked for: what stands for them until then says the same. */

import { COMMANDS, HOST_COMMANDS } from "hullmark/commands/entries";
import { program } from "hullmark/program";
import { expect, test } from "vitest";

test.each(["hullmark", "kubectl-plugin"] as const)("the help of %s is the same whatever is loaded", async (as) => {
  const whole = (await program(as)).helpInformation();
  for (const words of [[], ["verify"], ["drift", "ls"]]) expect((await program(as, words)).helpInformation()).toBe(whole);
});

type Command = Awaited<ReturnType<typeof program>>;

test.each(["hullmark", "kubectl-plugin"] as const)("no command of %s has an option that the whole has: it would take the words of it away", async (as) => {
  const root = await program(as);
  const below = (command: Command): readonly Command[] => command.commands.flatMap((each) => [each, ...below(each)]);
  const namesOf = (command: Command) => command.options.flatMap((each) => [each.short, each.long, each.attributeName()].filter((name) => name !== undefined));
  const whole = new Set(namesOf(root));
  const taken = below(root).flatMap((each) => namesOf(each).filter((name) => whole.has(name)));
  expect(taken).toEqual([]);
});

test("a command among the words is there with all that it takes, and no other is", async () => {
  const { commands } = await program("hullmark", ["--context", "prod", "drift", "ls"]);
  const takes = commands.filter((each) => each.name() !== "completion" && each.options.length + each.commands.length + each.registeredArguments.length > 0);
  expect(takes.map((each) => each.name())).toEqual(["drift"]);
  expect(takes[0]?.commands.map((each) => each.name())).toContain("ls");
});

test("each entry leads to the command of its name", async () => {
  const output = { out: () => undefined, err: () => undefined, exit: () => undefined };
  const names = [...HOST_COMMANDS, ...COMMANDS].map(({ name }) => name);
  expect(await Promise.all([...HOST_COMMANDS, ...COMMANDS].map(async ({ load }) => (await load(output)).name()))).toEqual(names);
  expect(new Set(names).size).toBe(names.length);
});
