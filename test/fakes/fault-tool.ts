/** Breaks the change source of a running program from outside (fault-tool.c). */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../deploy/testbed/run.ts";
import { compile } from "../e2e/images/programs.ts";

const tool = (): Promise<string> => compile("fault-tool", readFileSync(join(import.meta.dirname, "fault-tool.c"), "utf8"), []);

/** The kernel forgets what the process had marked. */
export async function dropFanotifyMarks(pid: number): Promise<void> {
  await run([await tool(), "unmark", `${pid}`]);
}

/** Holds the thread of this name for as long as `meanwhile` takes; the process's other threads go on. */
export async function holdingThread(pid: number, name: string, meanwhile: () => Promise<void>): Promise<void> {
  const tid = readdirSync(`/proc/${pid}/task`).find((each) => readFileSync(`/proc/${pid}/task/${each}/comm`, "utf8") === `${name}\n`);
  if (tid === undefined) throw new Error(`process ${pid} has no thread ${name}`);
  const holder = spawn(await tool(), ["hold", tid], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(holder, "close");
  try {
    const [word] = (await Promise.race([once(holder.stdout, "data"), ended])) as [unknown];
    if (`${word}` !== "held\n") throw new Error(`the thread ${name} cannot be held: ${word}`);
    await meanwhile();
  } finally {
    holder.stdin.end();
    await ended;
  }
}
