/** Processes of this machine that stand for containers of no runtime, made so that looking at them costs the agent what it has. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Unlisted } from "@hullmark/agent/adapters/cri/unlisted";
import { afterEach, expect, test } from "vitest";
import { compile } from "../e2e/images/programs.ts";

const HOSTILE = join(import.meta.dirname, "../fakes/hostile-process.c");
const SILENT = join(import.meta.dirname, "../fakes/silent-file-system.ts");
const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

async function ready(program: string, ...args: string[]): Promise<ChildProcess> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  const [word] = (await Promise.race([once(child.stdout, "data"), once(child, "close")])) as [unknown];
  expect(`${word}`).toBe("ready\n");
  return child;
}

/** @param before how it is started: a command and its arguments */
async function hostile(root: string, bytes: string, before: readonly string[] = []): Promise<number> {
  const [file = "", ...args] = [...before, await compile("hostile-process", readFileSync(HOSTILE, "utf8"), []), root, bytes];
  return (await ready(file, ...args)).pid ?? 0;
}

test("a root on a file system that does not answer holds nothing up, and is another than the node's", async () => {
  const at = await mkdtemp(join(tmpdir(), "hullmark-silent-"));
  try {
    const server = await ready(process.execPath, SILENT, at, "/bin/sleep");
    const pid = await hostile(at, "0");
    server.kill("SIGSTOP");
    expect([...new Unlisted().look().values()].map((each) => each.pid)).toContain(pid);
    server.kill("SIGKILL");
  } finally {
    await promisify(execFile)("umount", ["--lazy", at]).catch(() => undefined);
    await rm(at, { recursive: true, force: true });
  }
});

test("a root that is shown to nobody but its owner is another than the node's", async () => {
  const at = await mkdtemp(join(tmpdir(), "hullmark-silent-"));
  try {
    const own = ["--user", "--map-root-user", "--mount"];
    const server = await ready("unshare", ...own, process.execPath, SILENT, at, "/bin/sleep");
    const pid = await hostile(at, "0", ["nsenter", "--target", `${server.pid}`, "--user", "--mount", "--preserve-credentials"]);
    await expect(stat(`/proc/${pid}/root/`)).rejects.toMatchObject({ code: "EACCES" });
    expect([...new Unlisted().look().values()].map((each) => each.pid)).toContain(pid);
  } finally {
    await rm(at, { recursive: true, force: true });
  }
});

test("what a process says of itself is read as far as it is told, however long it is", async () => {
  const root = await mkdtemp(join(tmpdir(), "hullmark-root-"));
  try {
    const pid = await hostile(root, `${2 ** 36}`);
    const unlisted = new Unlisted();
    const seen = unlisted.look();
    const [id = ""] = [...seen].find(([, each]) => each.pid === pid) ?? [];
    expect(unlisted.others(seen, new Set())).toContain(id);
    const facts = unlisted.facts(id);
    expect(facts).toMatchObject({ pid, args: expect.arrayContaining([root]), unlisted: true });
    expect(facts?.env.length).toBeLessThanOrEqual(1024);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});
