/** Running code read from this machine's own procfs: real processes, real mappings. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, linkSync, mkdirSync, readFileSync, statSync, symlinkSync, unlinkSync } from "node:fs";
import { copyFile, mkdtemp, readdir, readFile, readlink, realpath, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { FileDigests, HashBudget } from "@hullmark/agent/adapters/procfs/file-digests";
import { ProcfsInspector } from "@hullmark/agent/adapters/procfs/procfs-inspector";
import { MountInfoRootFilesystem } from "@hullmark/agent/adapters/rootfs/mountinfo-root";
import { deviceName } from "@hullmark/agent/core/device-name";
import { openProcessList, processRoot } from "@hullmark/native";
import { capabilityNames } from "@hullmark/proto/codec";
import { afterEach, expect, test, vi } from "vitest";
import { compile } from "../e2e/images/programs.ts";
import { containerGroup, move } from "../fakes/container-group.ts";
import { startMapping } from "../fakes/mapping-process.ts";
import { run, scratch } from "../native/tree-support.ts";

/** Of a busy machine. */
const PATIENCE = { timeout: 30_000, interval: 100 };
const children: ChildProcess[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }
});

async function start(program: string, ...args: string[]): Promise<number> {
  const child = spawn(program, args, { stdio: "ignore" });
  children.push(child);
  await new Promise((resolve, reject) => child.once("spawn", () => resolve(undefined)).once("error", reject));
  return child.pid as number;
}

const look = async (pid: number, rootDevice?: string) => {
  const { code, claims } = await new ProcfsInspector().inspect(
    { containerId: "0", pid, capabilities: [], rootDevice, overlay: undefined },
    new AbortController().signal,
  );
  expect(claims).toEqual([]);
  return code;
};

test("a program of the root filesystem is of a layer; with another filesystem as the container's root it is not", async () => {
  const sleep = await realpath("/bin/sleep");
  const pid = await start(sleep, "600");
  await vi.waitFor(async () => expect((await look(pid)).find(({ main }) => main)).toMatchObject({ place: "layer", path: Buffer.from(sleep) }), PATIENCE);
  for (const { place } of await look(pid, "0:0")) expect(place).toBe("volume");
});

test("a program that was removed is told, with the digest of what still runs", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hullmark-procfs-"));
  try {
    const program = join(folder, "tool");
    await copyFile("/bin/sleep", program);
    const pid = await start(program, "600");
    await rm(program);
    await vi.waitFor(async () => {
      const main = (await look(pid)).find((each) => each.main);
      expect(main).toMatchObject({ place: "deleted", path: Buffer.from(program) });
      expect(main?.sha256).toHaveLength(32);
    }, PATIENCE);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a process that has ended runs nothing, and is no failure", async () => {
  const pid = await start("/bin/true");
  await vi.waitFor(async () => expect(await look(pid)).toEqual([]), PATIENCE);
});

test("the same answer comes again as long as nothing moved, and another one as soon as something did", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hullmark-procfs-"));
  try {
    const program = join(folder, "tool");
    await copyFile("/bin/sleep", program);
    const pid = await start(program, "600");
    const inspector = new ProcfsInspector();
    const inspect = () =>
      inspector.inspect({ containerId: "0", pid, capabilities: [], rootDevice: undefined, overlay: undefined }, new AbortController().signal);
    // Until its program is loaded whole, each look may differ.
    await vi.waitFor(async () => {
      const first = await inspect();
      expect(first.code.some(({ main, path }) => main && path.equals(Buffer.from(program)))).toBe(true);
      expect(await inspect()).toBe(first);
    }, PATIENCE);
    const before = await inspect();
    await rm(program);
    const after = await inspect();
    expect(after).not.toBe(before);
    expect(after.code.find(({ main }) => main)?.place).toBe("deleted");
    inspector.started("0", pid);
    expect(await inspect()).toEqual(after);
    inspector.forget("0");
    expect(await inspect()).not.toBe(after);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a container that starts processes without end leaves room for those of the others", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hullmark-procfs-"));
  try {
    const program = join(folder, "tool");
    await copyFile("/bin/sleep", program);
    const pid = await start(program, "600");
    // Alone in its mounts, so that no other process of this machine counts to its container.
    const other = await start("unshare", "--mount", "/bin/sleep", "600");
    await vi.waitFor(async () => expect(await readlink(`/proc/${other}/exe`)).toBe(await realpath("/bin/sleep")), PATIENCE);
    await rm(program);
    const inspector = new ProcfsInspector();
    const inspect = (containerId: string) =>
      inspector.inspect({ containerId, pid: other, capabilities: [], rootDevice: undefined, overlay: undefined }, new AbortController().signal);
    for (let i = 0; i < 64; i++) inspector.started("flood", other);
    inspector.started("calm", pid);
    // Those that were caught before it, and one after it.
    await inspect("flood");
    for (let i = 0; i < 64; i++) inspector.started("flood", other);
    await inspect("flood");
    for (let i = 0; i < 64; i++) inspector.started("flood", other);
    process.kill(pid, "SIGKILL");
    await vi.waitFor(() => expect(children.find((child) => child.pid === pid)?.signalCode).toBe("SIGKILL"), PATIENCE);
    const main = (await inspect("calm")).code.find((each) => each.main && each.pid === pid);
    expect(main).toMatchObject({ place: "deleted", path: Buffer.from(program) });
    inspector.forget("flood");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a process that may more than its container is told with what it may, one over its own user namespace alone is not", async () => {
  const inspect = async (pid: number, capabilities: readonly string[]) => {
    const request = { containerId: "0", pid, capabilities, rootDevice: undefined, overlay: undefined };
    const { privileges } = await new ProcfsInspector().inspect(request, new AbortController().signal);
    return privileges.filter((each) => each.pid === pid);
  };
  const mine = /^CapBnd:\s*([0-9a-f]+)$/m.exec(await readFile("/proc/self/status", "latin1"))?.[1];
  const [first = "", ...others] = capabilityNames(BigInt(`0x${mine}`));
  const sleep = await realpath("/bin/sleep");
  const pid = await start(sleep, "600");
  await vi.waitFor(async () => {
    expect(await inspect(pid, others)).toEqual([{ path: Buffer.from(sleep), capabilities: [first], pid, uid: 0, ancestry: expect.any(Array) }]);
  }, PATIENCE);
  expect(await inspect(pid, [first, ...others])).toEqual([]);
  const inner = await start("unshare", "--user", "--mount", sleep, "600");
  await vi.waitFor(async () => expect(await readlink(`/proc/${inner}/exe`)).toBe(sleep), PATIENCE);
  expect(await inspect(inner, [])).toEqual([]);
});

test("what one look may read is bounded: the rest is claimed, and told without digest", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hullmark-procfs-"));
  try {
    const program = join(folder, "tool");
    await copyFile("/bin/sleep", program);
    const { size } = await stat(program);
    // Alone in its mounts, so that no other process of this machine counts to its container.
    const pid = await start("unshare", "--mount", program, "600");
    await vi.waitFor(async () => expect(await readlink(`/proc/${pid}/exe`)).toBe(program), PATIENCE);
    await rm(program);
    const inspect = (maxBytes: number) =>
      new ProcfsInspector(maxBytes).inspect(
        { containerId: "0", pid, capabilities: [], rootDevice: undefined, overlay: undefined },
        new AbortController().signal,
      );
    const short = await inspect(size - 1);
    expect(short.claims).toEqual([
      { code: "unmeasurable", detail: expect.stringContaining("one look") },
      { code: "over-budget", detail: expect.stringContaining("one look") },
    ]);
    expect(short.code.find(({ main }) => main)).toMatchObject({ place: "deleted", sha256: undefined });
    const enough = await inspect(size);
    expect(enough.claims).toEqual([]);
    expect(enough.code.find(({ main }) => main)?.sha256).toHaveLength(32);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("one reading of a file serves several names, and fails none of them because another has gone", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hullmark-digests-"));
  try {
    const file = join(folder, "file");
    for (let round = 0; round < 100; round++) {
      const content = Buffer.alloc(300_000, round);
      await writeFile(file, content);
      const name = join(folder, `name-${round}`);
      await symlink(file, name);
      const digests = new FileDigests();
      const first = digests.of(name, new HashBudget(1e9));
      await stat(name);
      unlinkSync(name);
      const second = digests.of(file, new HashBudget(1e9));
      expect((await second)?.equals(createHash("sha256").update(content).digest()), `round ${round}`).toBe(true);
      await first;
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a file that is asked for twice at once is read once, and what could not be read within a budget is read within the next", async () => {
  const sleep = await realpath("/bin/sleep");
  const { size } = await stat(sleep);
  const digests = new FileDigests();
  const budget = new HashBudget(size);
  const both = await Promise.all([digests.of(sleep, budget), digests.of(sleep, budget)]);
  expect(both[0]).toHaveLength(32);
  expect(both[1]).toEqual(both[0]);
  expect(budget.exceeded).toBe(false);
  const none = new HashBudget(0);
  expect(await digests.of(sleep, none)).toEqual(both[0]);
  expect(none.exceeded).toBe(false);
  expect(await new FileDigests().of(sleep, none)).toBeUndefined();
  expect(none.exceeded).toBe(true);
});

test("a program of a container that is never looked at is let go after a while", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hullmark-procfs-"));
  try {
    const program = join(folder, "tool");
    await copyFile("/bin/sleep", program);
    const pid = await start(program, "600");
    const open = async (): Promise<number> => {
      const shown = await Promise.all((await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")));
      return shown.filter((path) => path === program).length;
    };
    const [impatient, patient] = [new ProcfsInspector(undefined, 1), new ProcfsInspector()];
    impatient.started("gone", pid);
    patient.started("waiting", pid);
    await vi.waitFor(async () => expect(await open()).toBeGreaterThan(0), PATIENCE);
    patient.forget("waiting");
    await vi.waitFor(async () => expect(await open()).toBe(0), PATIENCE);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a program on a file system that does not answer holds up neither this process nor a look at another container, and is told when that is gone", async () => {
  const at = await mkdtemp(join(tmpdir(), "hullmark-silent-"));
  const server = spawn(process.execPath, [new URL("../fakes/silent-file-system.ts", import.meta.url).pathname, at, await realpath("/bin/sleep")]);
  children.push(server);
  try {
    await once(server.stdout, "data");
    const [pid, other] = [await start(join(at, "program"), "600"), await start("/bin/sleep", "600")];
    const inspector = new ProcfsInspector();
    const inspect = (containerId: string, pid: number) =>
      inspector.inspect({ containerId, pid, capabilities: [], rootDevice: undefined, overlay: undefined }, new AbortController().signal);
    await vi.waitFor(async () => expect((await inspect("0", pid)).code.find(({ main }) => main)?.place).toBe("volume"), PATIENCE);
    server.kill("SIGSTOP");
    let ended = false;
    const looking = inspect("0", pid).finally(() => {
      ended = true;
    });
    await vi.waitFor(async () => expect((await inspect("1", other)).code.find(({ main }) => main)?.place).toBe("layer"), PATIENCE);
    expect(ended).toBe(false);
    server.kill("SIGKILL");
    expect((await looking).code.find(({ main }) => main)?.place).not.toBe("layer");
  } finally {
    server.kill("SIGKILL");
    await promisify(execFile)("umount", ["--lazy", at]).catch(() => undefined);
    await rm(at, { recursive: true, force: true });
  }
});

test("code on a volume is told as that where root and volume are of one device, also of a process that took its own mounts away", async () => {
  const { id, path: group } = containerGroup();
  const [folder, volume] = [scratch(), scratch()];
  const app = join(folder, "app");
  const program = join(app, "program");
  mkdirSync(app);
  const [main, other] = [await startMapping(scratch()), await startMapping(scratch())];
  for (const { pid } of [main, other]) move(pid, group);
  // Of the two names in the volume the main process sees one where the other process, whose root the volume is, sees the other.
  mkdirSync(join(volume, app), { recursive: true });
  copyFileSync("/bin/true", join(volume, "program"));
  linkSync(join(volume, "program"), join(volume, program));
  mkdirSync(join(volume, "before"));
  run("nsenter", "--mount", `--target=${main.pid}`, "mount", "--bind", volume, app);
  run("nsenter", "--mount", `--target=${other.pid}`, "sh", "-c", `mount --bind ${volume} ${volume} && cd ${volume} && pivot_root . before`);
  await other.does(`map ${program}`);
  const request = { containerId: id, pid: main.pid, capabilities: [], rootDevice: deviceName(statSync(volume).dev), overlay: undefined };
  const { code } = await new ProcfsInspector().inspect(request, new AbortController().signal);
  expect(code.filter((each) => each.path.equals(Buffer.from(program)))).toMatchObject([{ pid: other.pid, place: "volume" }]);
});

test("a link that a container makes in its upper directory leads out of it nowhere: what it runs past that is not taken for a layer's", async () => {
  const [folder, upperPath] = [scratch(), scratch()];
  const { pid, program } = await startMapping(folder);
  const place = async (): Promise<string | undefined> => {
    const request = { containerId: "0", pid, capabilities: [], rootDevice: deviceName(statSync(program).dev), overlay: { layerPaths: [], upperPath } };
    const { code } = await new ProcfsInspector().inspect(request, new AbortController().signal);
    return code.find((each) => each.main)?.place;
  };
  expect(await place()).toBe("layer");
  mkdirSync(join(upperPath, dirname(folder)), { recursive: true });
  symlinkSync(scratch(), join(upperPath, folder));
  expect(await place()).toBe("upper");
});

test("a look at many processes gives way to others, also where nothing has to be read", async () => {
  const { id, path: group } = containerGroup();
  const processes = [];
  for (let i = 0; i < 40; i++) processes.push(await startMapping(scratch()));
  for (const { pid } of processes) move(pid, group);
  const inspector = new ProcfsInspector();
  const request = { containerId: id, pid: processes[0]?.pid ?? 0, capabilities: [], rootDevice: undefined, overlay: undefined };
  const inspect = () => inspector.inspect(request, new AbortController().signal);
  expect((await inspect()).processes).toBe(40);
  await inspect();
  let others = 0;
  setImmediate(() => others++);
  await inspect();
  expect(others).toBe(1);
});

test("a file of a volume that is written over while a process maps it is told with what it holds now", async () => {
  const folder = scratch();
  const library = join(folder, "library");
  const { pid, does } = await startMapping(scratch());
  copyFileSync("/bin/true", library);
  await does(`map ${library}`);
  const inspector = new ProcfsInspector();
  const request = { containerId: "0", pid, capabilities: [], rootDevice: "0:0", overlay: undefined };
  const mapped = async () => (await inspector.inspect(request, new AbortController().signal)).code.filter(({ path }) => path.equals(Buffer.from(library)));
  const digest = async () =>
    createHash("sha256")
      .update(await readFile(library))
      .digest();
  expect(await mapped()).toMatchObject([{ place: "volume", sha256: await digest() }]);
  const before = inspector.signature(request, []);
  await writeFile(library, "something else", { flag: "r+" });
  expect(inspector.signature(request, [])).not.toBe(before);
  expect(await mapped()).toMatchObject([{ place: "volume", sha256: await digest() }]);
});

test("a process whose first thread has ended is told with what the others run and may", async () => {
  const { id, path: group } = containerGroup();
  const program = await compile("leaderless-process", readFileSync(join(import.meta.dirname, "../fakes/leaderless-process.c"), "utf8"), ["-pthread"]);
  const [main, pid] = [await startMapping(scratch()), await start(program)];
  await vi.waitFor(async () => expect(await readFile(`/proc/${pid}/stat`, "latin1")).toContain("(leaderless-proc) Z"), PATIENCE);
  for (const each of [main.pid, pid]) move(each, group);
  const inspector = new ProcfsInspector();
  const request = { containerId: id, pid: main.pid, capabilities: [], rootDevice: undefined, overlay: undefined };
  const { code, privileges } = await inspector.inspect(request, new AbortController().signal);
  const its = code.filter((each) => each.pid === pid);
  expect(its.filter(({ place }) => place === "memfd")).toMatchObject([{ path: Buffer.from("/memfd:leaderless") }]);
  expect(its.filter((each) => each.main)).toMatchObject([{ path: Buffer.from(program) }]);
  expect(privileges.filter((each) => each.pid === pid)).toHaveLength(1);
  // What its other threads map and let go shows in no signature.
  expect(inspector.signature(request, [])).toBeUndefined();
  expect(openProcessList().now()).toContainEqual({ pid, containerId: id, mountNamespace: statSync("/proc/self/ns/mnt").ino });
  expect(processRoot(pid)).toBe(processRoot(process.pid));
  // A container's main process may be one.
  const layout = await new MountInfoRootFilesystem().layout(pid, undefined);
  expect(layout).toMatchObject({ mounts: expect.arrayContaining([expect.objectContaining({ destination: "/proc" })]) });
});
