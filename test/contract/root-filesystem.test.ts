/** Where a container's files lie, from mountinfo in a procfs of the test's own and directories as the engine makes them. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MountInfoRootFilesystem } from "@hullmark/agent/adapters/rootfs/mountinfo-root";
import { afterEach, beforeEach, expect, it } from "vitest";

let directory: string;
let storage: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-rootfs-"));
  storage = join(directory, "overlay2");
  for (const layer of ["base", "top", "other", "upper"]) mkdirSync(join(storage, layer, "diff"), { recursive: true });
  mkdirSync(join(storage, "l"));
  symlinkSync("../base/diff", join(storage, "l", "AAA"));
  symlinkSync("../top/diff", join(storage, "l", "BBB"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function write(pid: number, ...others: readonly string[]): void {
  const options = `rw,lowerdir=l/BBB:l/AAA,upperdir=${storage}/upper/diff,workdir=${storage}/upper/work`;
  mkdirSync(join(directory, "proc", String(pid)), { recursive: true });
  writeFileSync(join(directory, "proc", String(pid), "mountinfo"), [`100 1 0:50 / / rw - overlay overlay ${options}`, ...others, ""].join("\n"));
}

const open = (): MountInfoRootFilesystem => new MountInfoRootFilesystem(join(directory, "proc"));
const TMPFS = "101 100 0:51 / /run\\040time rw,nosuid - tmpfs tmpfs rw";

it("names layers, lowest first, the upper directory and the other mounts", async () => {
  write(7, TMPFS);
  expect(await open().layout(7)).toEqual({
    kind: "overlay",
    layers: [
      { id: expect.stringMatching(/^overlay2\/base@[0-9a-f]{16}$/), path: join(storage, "base/diff"), runtimeMade: false },
      { id: expect.stringMatching(/^overlay2\/top@[0-9a-f]{16}$/), path: join(storage, "top/diff"), runtimeMade: false },
    ],
    upperPath: join(storage, "upper/diff"),
    device: "0:50",
    oddOptions: [],
    readOnly: false,
    mounts: [expect.objectContaining({ destination: "/run time", type: "tmpfs", options: ["rw", "nosuid"] })],
  });
});

it("gives the same answer while the kernel says the same, wherever the names lead meanwhile", async () => {
  write(7);
  const root = open();
  const before = await root.layout(7);
  unlinkSync(join(storage, "l", "AAA"));
  symlinkSync("../other/diff", join(storage, "l", "AAA"));
  expect(await root.layout(7)).toBe(before);
});

it("sees every change of the mounts", async () => {
  write(7);
  const root = open();
  expect(await root.layout(7)).toMatchObject({ mounts: [] });
  write(7, TMPFS);
  expect(await root.layout(7)).toMatchObject({ mounts: [{ destination: "/run time" }] });
  write(7, TMPFS.replace("nosuid", "nodev "));
  expect(await root.layout(7)).toMatchObject({ mounts: [{ destination: "/run time", options: ["rw", "nodev"] }] });
  write(7);
  expect(await root.layout(7)).toMatchObject({ mounts: [] });
});

it("knows each process for itself, and none that is gone", async () => {
  write(7);
  write(8, TMPFS);
  const root = open();
  expect(await root.layout(7)).toMatchObject({ mounts: [] });
  expect(await root.layout(8)).toMatchObject({ mounts: [{ type: "tmpfs" }] });
  rmSync(join(directory, "proc", "7"), { recursive: true });
  expect(await root.layout(7)).toEqual({ kind: "gone" });
  write(7, TMPFS);
  expect(await root.layout(7)).toMatchObject({ mounts: [{ type: "tmpfs" }] });
});

it("answers alike for more mounts than it remembers, and refuses what is without end", async () => {
  const many = Array.from({ length: 5000 }, (_, i) => `${200 + i} 100 0:51 / /m${i} rw - tmpfs tmpfs rw,size=64k,mode=755,inode64`);
  write(7, ...many);
  const root = open();
  const first = await root.layout(7);
  const second = await root.layout(7);
  expect(second).toEqual(first);
  expect(second).not.toBe(first);
  writeFileSync(join(directory, "proc", "7", "mountinfo"), Buffer.alloc(17 * 1024 * 1024, "x"));
  await expect(root.layout(7)).rejects.toThrow(RangeError);
});

/** Names of the layers of a container that containerd made. */
async function snapshots(pid: number, lowerdir: string): Promise<string[]> {
  const options = `rw,lowerdir=${lowerdir},upperdir=/a/snapshots/9/fs,workdir=/a/snapshots/9/work`;
  mkdirSync(join(directory, "proc", String(pid)), { recursive: true });
  writeFileSync(join(directory, "proc", String(pid), "mountinfo"), `100 99 0:50 / / rw,relatime - overlay overlay ${options}\n`);
  const layout = await open().layout(pid);
  return layout.kind === "overlay" ? layout.layers.map(({ id }) => id) : [];
}

it("never gives two directories one name: containerd counts snapshots from 1 below each of its roots", async () => {
  const [one, other] = [await snapshots(1, "/a/snapshots/5/fs"), await snapshots(2, "/b/snapshots/5/fs")];
  expect(one).toEqual([expect.stringMatching(/^snapshots\/5@[0-9a-f]{16}$/)]);
  expect(other).not.toEqual(one);
});

it("gives one directory one name in every container", async () => {
  const of = (...numbers: readonly number[]): string => numbers.map((each) => `/a/snapshots/${each}/fs`).join(":");
  expect(await snapshots(1, of(6, 5))).toEqual((await snapshots(2, of(7, 6, 5))).slice(0, 2));
});
