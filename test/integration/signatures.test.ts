/** What looks compare, over this machine's own procfs: what is remembered of a process never hides that something moved. */
import { chmodSync, copyFileSync, linkSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openSignatures, type Signatures } from "@hullmark/native";
import { expect, test } from "vitest";
import { startMapping } from "../fakes/mapping-process.ts";
import { run, scratch } from "../native/tree-support.ts";

/** One that remembers, held against one that reads everything each time: what moves for that one moves for it. */
function watched(pid: number, upper: string, files: readonly (string | number)[], pids: readonly number[] = [pid]) {
  const remembering = openSignatures();
  let before = { remembering: "", anew: "" };
  return {
    /** Whether it says that something has moved since the last time, or that it must be looked at in full. */
    moved(): boolean {
      const of = (signatures: Signatures): string => signatures.ofContainer(pid, pids, upper, files)?.toString("hex") ?? "";
      const now = { remembering: of(remembering), anew: of(openSignatures()) };
      // Nothing: a name that is not in the kernel's cache must be asked of its file system, which a look in full does.
      const moved = now.remembering === "" || now.remembering !== before.remembering;
      if (now.anew !== before.anew) expect(moved).toBe(true);
      before = now;
      return moved;
    },
    gone: () => remembering.ofContainer(pid, pids, upper, files) === undefined,
  };
}

test("a signature is the same while nothing moves, also where the process runs, and another as soon as something does", async () => {
  const folder = scratch();
  const { pid, program, does } = await startMapping(folder);
  const [upper, library, hosts] = [join(folder, "upper"), join(folder, "library"), join(folder, "hosts")];
  mkdirSync(join(upper, folder), { recursive: true });
  copyFileSync(program, library);
  writeFileSync(hosts, "127.0.0.1 localhost\n");
  const { moved } = watched(pid, upper, [hosts, 4096]);
  expect(moved()).toBe(true);
  for (let i = 0; i < 3; i++) expect(moved()).toBe(false);
  await does("nothing");
  expect(moved()).toBe(false);
  await does(`map ${library}`);
  expect(moved()).toBe(true);
  expect(moved()).toBe(false);

  // From here on by others, while it sleeps: the file that it maps is replaced, comes back, has a name in the upper directory, has none.
  renameSync(library, `${library}-kept`);
  expect(moved()).toBe(true);
  copyFileSync(program, library);
  expect(moved()).toBe(true);
  rmSync(library);
  linkSync(`${library}-kept`, library);
  expect(moved()).toBe(true);
  writeFileSync(join(upper, library), "");
  expect(moved()).toBe(true);
  rmSync(join(upper, library));
  expect(moved()).toBe(true);
  rmSync(library);
  expect(moved()).toBe(true);
  rmSync(program);
  expect(moved()).toBe(true);
  // What the kernel calls its mappings now is not read before it runs: nothing else is at their paths than was.
  await does("nothing");
  moved();
  expect(moved()).toBe(false);

  writeFileSync(hosts, "127.0.0.2 localhost\n");
  expect(moved()).toBe(true);
  chmodSync(hosts, 0o600);
  expect(moved()).toBe(true);
  rmSync(hosts);
  expect(moved()).toBe(true);
  expect(moved()).toBe(false);

  const inside = ["--mount", `--target=${pid}`];
  run("nsenter", ...inside, "mount", "-t", "tmpfs", "-o", "size=64k", "none", upper);
  expect(moved()).toBe(true);
  run("nsenter", ...inside, "mount", "-o", "remount,bind,ro", upper);
  expect(moved()).toBe(true);
  run("nsenter", ...inside, "mount", "--make-shared", upper);
  expect(moved()).toBe(true);
  run("nsenter", ...inside, "umount", upper);
  expect(moved()).toBe(true);
  expect(moved()).toBe(false);
});

test("a process that goes, another that takes its place, and files that cannot be read are looked at in full", async () => {
  const folder = scratch();
  const [first, second] = [await startMapping(folder), await startMapping(scratch())];
  const alone = watched(first.pid, "", []);
  const both = watched(first.pid, "", [], [first.pid, second.pid]);
  alone.moved();
  both.moved();
  expect(alone.gone()).toBe(false);
  await second.end();
  expect(both.gone()).toBe(true);
  expect(alone.moved()).toBe(false);
  const signatures = openSignatures();
  const withFile = (path: string, maxBytes: number) => signatures.ofContainer(first.pid, [first.pid], "", [path, maxBytes]);
  writeFileSync(join(folder, "file"), "12345");
  expect(withFile(join(folder, "file"), 5)).toHaveLength(32);
  expect(withFile(join(folder, "file"), 4)).toBeUndefined();
  expect(withFile(folder, 4096)).toBeUndefined();
  run("ln", "-s", "file", join(folder, "link"));
  expect(withFile(join(folder, "link"), 4096)).toBeUndefined();
  run("mkfifo", join(folder, "fifo"));
  expect(withFile(join(folder, "fifo"), 4096)).toBeUndefined();
  await first.end();
  expect(alone.gone()).toBe(true);
});

test("what a process may belongs to what is seen of it", async () => {
  const { pid, does } = await startMapping(scratch());
  const { moved } = watched(pid, "", []);
  moved();
  expect(moved()).toBe(false);
  const before = openSignatures().ofProcess(pid, pid, "");
  await does("drop 13");
  expect(moved()).toBe(true);
  expect(openSignatures().ofProcess(pid, pid, "")).not.toEqual(before);
});

test("links in an upper directory are the workload's, and none is followed out of it", async () => {
  const [folder, upper, outside] = [scratch(), scratch(), scratch()];
  const { pid, does } = await startMapping(folder);
  const library = join(folder, "library");
  copyFileSync("/bin/true", library);
  await does(`map ${library}`);
  const { moved } = watched(pid, upper, []);
  mkdirSync(join(upper, folder, ".."), { recursive: true });
  moved();
  expect(moved()).toBe(false);
  symlinkSync(outside, join(upper, folder));
  expect(moved()).toBe(true);
  expect(moved()).toBe(false);
  writeFileSync(join(outside, "library"), "");
  expect(moved()).toBe(false);
});

test("a container whose processes map more files than are looked up at once is looked at in full", async () => {
  const { pid } = await startMapping(scratch());
  const of = (times: number): Buffer | undefined => openSignatures().ofContainer(pid, Array<number>(times).fill(pid), "", []);
  expect(of(100)).toHaveLength(32);
  expect(of(20_000)).toBeUndefined();
});
