/** Which process in a container is still the runtime's own, on real processes that stand for runtime, shim and container program. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { readlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isRuntimeStarting } from "@hullmark/agent/adapters/procfs/runtime-process";
import { afterEach, beforeEach, expect, test } from "vitest";
import { STATE_ROOT } from "../../deploy/testbed/paths.ts";

const BUSYBOX = join(STATE_ROOT, "cache", "busybox");
const digest = async (path: string): Promise<Buffer | undefined> => {
  try {
    return createHash("sha256").update(readFileSync(path)).digest();
  } catch {
    return undefined;
  }
};
let folder: string;
let shim: ChildProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hullmark-runtime-"));
  for (const name of ["path", "elsewhere"]) mkdirSync(join(folder, name));
});
afterEach(() => {
  if (shim?.pid !== undefined) process.kill(-shim.pid, "SIGKILL");
  shim = undefined;
  rmSync(folder, { recursive: true });
});

/** A program below a parent with that search path. @returns the program's pid, once it runs from its file */
async function runBelowShim(program: string, name: string): Promise<number> {
  shim = spawn("/bin/sh", ["-c", '"$@" & echo $!; wait', "shim", program, name, "1000"], {
    detached: true,
    env: { PATH: `${join(folder, "path")}:/nowhere` },
    stdio: ["ignore", "pipe", "ignore"],
  });
  const pid = Number(await new Promise<string>((resolve) => shim?.stdout?.once("data", (data: Buffer) => resolve(data.toString()))));
  await expect.poll(() => readlink(`/proc/${pid}/exe`)).toContain(folder);
  return pid;
}
const starting = (pid: number, mappings: { device: string; inode: string; path: string }[] = []) =>
  isRuntimeStarting("/proc", { pid, program: "0:1:2", mappings }, digest);

test("what the shim finds as its runtime, run from a copy without a name, is the runtime", async () => {
  copyFileSync(BUSYBOX, join(folder, "path/runc"));
  copyFileSync(BUSYBOX, join(folder, "elsewhere/busybox"));
  const pid = await runBelowShim(join(folder, "elsewhere/busybox"), "sleep");
  rmSync(join(folder, "elsewhere/busybox"));
  expect(await starting(pid)).toBe(true);
  // With code of the container besides, it is not.
  expect(await starting(pid, [{ device: "0:1", inode: "3", path: BUSYBOX }])).toBe(false);
});

test("another program below the shim, or one of no search path, is not", async () => {
  copyFileSync(BUSYBOX, join(folder, "elsewhere/busybox"));
  const pid = await runBelowShim(join(folder, "elsewhere/busybox"), "sleep");
  expect(await starting(pid)).toBe(false);
  copyFileSync("/bin/true", join(folder, "path/runc"));
  expect(await starting(pid)).toBe(false);
  copyFileSync(BUSYBOX, join(folder, "path/busybox"));
  expect(await starting(pid)).toBe(false);
});
