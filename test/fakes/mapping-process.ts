import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished } from "vitest";
import { compile } from "../e2e/images/programs.ts";

const SOURCE = join(import.meta.dirname, "mapping-process.c");

/** A process (mapping-process.c) in a mount namespace of its own, from a copy of its program in `folder`, whose mappings the test decides. It sleeps until it is told something. */
export async function startMapping(folder: string) {
  const program = join(folder, "program");
  copyFileSync(await compile("mapping-process", readFileSync(SOURCE, "utf8"), []), program);
  // A sanitizer is for the programs that load the addon.
  const child: ChildProcessWithoutNullStreams = spawn("unshare", ["--mount", "--propagation", "private", program], { env: { ...process.env, LD_PRELOAD: "" } });
  const end = async (): Promise<void> => {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  };
  onTestFinished(end);
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const pid = child.pid ?? 0;
  expect((await lines.next()).value).toBe("ready");
  return {
    pid,
    program,
    end,
    async does(what: string): Promise<void> {
      child.stdin.write(`${what}\n`);
      expect((await lines.next()).value).toBe("done");
      // It has said so, and still runs until it waits for the next: what is remembered of it until it runs is then read anew.
      while (!/^\d+ \(.*\) S /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))) await sleep(1);
    },
  };
}
