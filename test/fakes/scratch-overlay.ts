/** A real overlay mount in a mount namespace of its own, driven by a shell inside; gone with `close`, or with the test process. */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { STATE_ROOT } from "../../deploy/testbed/paths.ts";

export interface ScratchOverlay {
  readonly lower: string;
  readonly upper: string;
  /** Runs a shell script in the merged directory. @throws Error with its standard error when it fails */
  run(script: string): Promise<void>;
  close(): Promise<void>;
}

/** @param seed shell script that fills the lower directory (its working directory) */
export async function scratchOverlay(seed: string): Promise<ScratchOverlay> {
  mkdirSync(STATE_ROOT, { recursive: true });
  const base = mkdtempSync(join(STATE_ROOT, "overlay-"));
  for (const name of ["lower", "upper", "work", "merged"]) mkdirSync(join(base, name));
  const shell = spawn("unshare", ["--mount", "--propagation", "private", "bash"], {
    stdio: ["pipe", "pipe", "pipe"],
    // A sanitizer's runtime is for this process, not for the machine's programs.
    env: { ...process.env, LD_PRELOAD: "" },
  });
  let errors = "";
  shell.stderr.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  let output = "";
  let told: (() => void) | undefined;
  shell.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
    told?.();
  });
  const ended = new Promise<void>((resolve) => shell.once("exit", () => resolve()));
  void ended.then(() => told?.());
  let count = 0;
  const run = async (script: string): Promise<void> => {
    const mark = `hullmark-${++count}`;
    shell.stdin.write(`( set -e\n${script}\n)\necho "${mark} $?"\n`);
    let found: RegExpExecArray | null = null;
    while (!found) {
      if (shell.exitCode !== null) throw new Error(`the shell ended: ${errors}`);
      await new Promise<void>((resolve) => {
        told = resolve;
        if (output.includes(`${mark} `)) resolve();
      });
      found = new RegExp(`${mark} (\\d+)\\n`).exec(output);
    }
    if (found[1] !== "0") throw new Error(`${script}: ${errors}`);
  };
  await run(`cd ${base}/lower\n${seed}`);
  await run(`mount -t overlay overlay -o lowerdir=${base}/lower,upperdir=${base}/upper,workdir=${base}/work ${base}/merged`);
  shell.stdin.write(`cd ${base}/merged\n`);
  return {
    lower: join(base, "lower"),
    upper: join(base, "upper"),
    run,
    close: async () => {
      shell.stdin.end("exit\n");
      await ended;
      rmSync(base, { recursive: true, force: true });
    },
  };
}
