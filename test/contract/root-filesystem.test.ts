/** Where a container's files lie, from mountinfo in a procfs of the test's own and directories as the engine makes them. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MountInfoRootFilesystem } from "@hullmark/agent/adapters/rootfs/mountinfo-root";
import { deviceName } from "@hullmark/agent/core/device-name";
import type { GivenRoot } from "@hullmark/agent/ports/root-filesystem";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

let directory: string;
let storage: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-rootfs-"));
  storage = join(directory, "overlay2");
  for (const layer of ["base", "top", "other", "upper"]) mkdirSync(join(storage, layer, "diff"), { recursive: true });
  mkdirSync(join(storage, "l"));
  symlinkSync("../base/diff", join(storage, "l", "AAA"));
  symlinkSync("../top/diff", join(storage, "l", "BBB"));
  for (const path of ["proc/3", "bundles/one/rootfs", "bundles/two/rootfs/evil", "elsewhere"]) mkdirSync(join(directory, path), { recursive: true });
  symlinkSync("../../bundles/one", join(directory, "proc/3/cwd"));
  symlinkSync("/", join(directory, "proc/3/root"));
});
afterEach(() => rmSync(directory, { recursive: true }));

/** As a shim finds the container's root beside the bundle in which it works. */
const GIVEN: GivenRoot = { containerId: "two", path: "rootfs" };
const overlay = (lower: string): string => `rw,lowerdir=${lower},upperdir=${storage}/upper/diff,workdir=${storage}/upper/work`;
const ROOT = (): string => `100 1 0:50 / / rw - overlay overlay ${overlay("l/BBB:l/AAA")}`;

function write(pid: number, ...others: readonly string[]): void {
  writeRooted(pid, "bundles/two/rootfs", ROOT(), ...others);
}

/** A process whose parent is 3, and whose root is this directory. */
function writeRooted(pid: number, root: string, ...mounts: readonly string[]): void {
  const own = join(directory, "proc", String(pid));
  rmSync(own, { recursive: true, force: true });
  mkdirSync(own, { recursive: true });
  symlinkSync(join(directory, root), join(own, "root"));
  writeFileSync(join(own, "stat"), `${pid} (a ) b) S 3 1 1`);
  writeFileSync(join(own, "mountinfo"), [...mounts, ""].join("\n"));
}

const open = (): MountInfoRootFilesystem => new MountInfoRootFilesystem(join(directory, "proc"));
const TMPFS = "101 100 0:51 / /run\\040time rw,nosuid - tmpfs tmpfs rw";

it("names layers, lowest first, the upper directory and the other mounts", async () => {
  write(7, TMPFS);
  expect(await open().layout(7, GIVEN)).toEqual({
    kind: "overlay",
    layers: [
      { id: expect.stringMatching(/^overlay2\/base@[0-9a-f]{16}$/), path: join(storage, "base/diff") },
      { id: expect.stringMatching(/^overlay2\/top@[0-9a-f]{16}$/), path: join(storage, "top/diff") },
    ],
    upperPath: join(storage, "upper/diff"),
    device: "0:50",
    oddOptions: [],
    readOnly: false,
    openSystemPaths: [],
    mounts: [expect.objectContaining({ destination: "/run time", type: "tmpfs", options: ["rw", "nosuid"] })],
  });
});

describe("a root that is no overlay", () => {
  const bound = (device: string, root: string): string => `100 1 ${device} ${root} / rw - ext4 /dev/sda rw`;
  const own = (device: string, root: string, destination: string): void => {
    mkdirSync(join(directory, "proc/self"), { recursive: true });
    writeFileSync(join(directory, "proc/self/mountinfo"), `20 1 ${device} ${root} ${destination} rw - ext4 /dev/sda rw\n`);
  };
  let device: string;
  beforeEach(() => {
    device = deviceName(statSync(directory).dev);
    mkdirSync(join(directory, "store/snapshots/7"), { recursive: true });
  });

  it("is where the agent sees the directory that was mounted there", async () => {
    rmSync(join(directory, "bundles/two/rootfs"), { recursive: true });
    symlinkSync(join(directory, "store/snapshots/7"), join(directory, "bundles/two/rootfs"));
    writeRooted(7, "store/snapshots/7", bound(device, "/disk/store/snapshots/7"));
    own(device, "/disk/store", join(directory, "store"));
    const found = await open().layout(7, GIVEN);
    expect(found).toMatchObject({ kind: "merged", path: join(directory, "store/snapshots/7"), onNode: true, filesystem: "ext4", mounts: [] });
    expect(found).not.toHaveProperty("unproven");
  });

  it.each([
    ["of another filesystem", () => own("250:250", "/disk/store", join(directory, "store"))],
    ["of a folder whose name begins alike", () => own(device, "/disk/st", join(directory, "st"))],
    ["under which something else lies", () => own(device, "/disk/store", join(directory, "elsewhere"))],
    ["that is not to be read", () => undefined],
  ])("is the process's view where the agent has a mount %s", async (_, prepare) => {
    writeRooted(7, "store/snapshots/7", bound(device, "/disk/store/snapshots/7"));
    prepare();
    expect(await open().layout(7, undefined)).toMatchObject({ kind: "merged", path: join(directory, "proc/7/root"), onNode: false });
  });
});

it("names paths of the kernel's that nothing hides, of a root that is certain", async () => {
  write(7, "102 100 0:52 / /proc rw - proc proc rw\n103 102 0:52 /irq /proc/irq ro - proc proc rw");
  const { openSystemPaths } = (await open().layout(7, GIVEN)) as { openSystemPaths?: readonly string[] };
  expect(openSystemPaths).toContain("/proc/sys");
  expect(openSystemPaths).not.toContain("/proc/irq");
  expect(openSystemPaths).not.toContain("/sys/firmware");
  expect(await open().layout(7, undefined)).not.toHaveProperty("openSystemPaths");
});

it("gives the same answer while the kernel says the same, wherever the names lead meanwhile", async () => {
  write(7);
  const root = open();
  const before = await root.layout(7, GIVEN);
  unlinkSync(join(storage, "l", "AAA"));
  symlinkSync("../other/diff", join(storage, "l", "AAA"));
  expect(await root.layout(7, GIVEN)).toBe(before);
});

it("sees every change of the mounts", async () => {
  write(7);
  const root = open();
  expect(await root.layout(7, GIVEN)).toMatchObject({ mounts: [] });
  write(7, TMPFS);
  expect(await root.layout(7, GIVEN)).toMatchObject({ mounts: [{ destination: "/run time" }] });
  write(7, TMPFS.replace("nosuid", "nodev "));
  expect(await root.layout(7, GIVEN)).toMatchObject({ mounts: [{ destination: "/run time", options: ["rw", "nodev"] }] });
  write(7);
  expect(await root.layout(7, GIVEN)).toMatchObject({ mounts: [] });
});

it("knows each process for itself, and none that is gone", async () => {
  write(7);
  write(8, TMPFS);
  const root = open();
  expect(await root.layout(7, GIVEN)).toMatchObject({ mounts: [] });
  expect(await root.layout(8, GIVEN)).toMatchObject({ mounts: [{ type: "tmpfs" }] });
  rmSync(join(directory, "proc", "7"), { recursive: true });
  expect(await root.layout(7, GIVEN)).toEqual({ kind: "gone" });
  write(7, TMPFS);
  expect(await root.layout(7, GIVEN)).toMatchObject({ mounts: [{ type: "tmpfs" }] });
});

it("answers alike for more mounts than it remembers, and refuses what is without end", async () => {
  const many = Array.from({ length: 5000 }, (_, i) => `${200 + i} 100 0:51 / /m${i} rw - tmpfs tmpfs rw,size=64k,mode=755,inode64`);
  write(7, ...many);
  const root = open();
  const first = await root.layout(7, GIVEN);
  const second = await root.layout(7, GIVEN);
  expect(second).toEqual(first);
  expect(second).not.toBe(first);
  writeFileSync(join(directory, "proc", "7", "mountinfo"), Buffer.alloc(17 * 1024 * 1024, "x"));
  await expect(root.layout(7, GIVEN)).rejects.toThrow(RangeError);
});

it.each([-1, 0, 1, 65_536, 70_000])("sees a change in the last line of a table %i bytes longer than what is compared at once", async (more) => {
  const LIMIT = 256 * 1024;
  const last = (option: string) => `9 100 0:51 / /last ${option} - tmpfs tmpfs rw`;
  const length = (...mounts: string[]) => [ROOT(), ...mounts, ""].join("\n").length;
  const filler = (name: string) => `8 100 0:51 / /${name} rw - tmpfs tmpfs rw`;
  const pad = filler("x".repeat(LIMIT + more - length(filler(""), last("rw"))));
  expect(length(pad, last("rw"))).toBe(LIMIT + more);
  const root = open();
  for (const option of ["rw", "ro", "ro", "rw"]) {
    write(7, pad, last(option));
    const layout = await root.layout(7, GIVEN);
    expect("mounts" in layout && layout.mounts.at(-1)).toMatchObject({ destination: "/last", options: [option] });
  }
  // Not what it was, cut where it is compared.
  write(7, pad);
  expect(await root.layout(7, GIVEN)).toMatchObject({ mounts: [{ type: "tmpfs" }] });
});

/** Names of the layers of a container that containerd made. */
async function snapshots(pid: number, lowerdir: string): Promise<string[]> {
  const options = `rw,lowerdir=${lowerdir},upperdir=/a/snapshots/9/fs,workdir=/a/snapshots/9/work`;
  writeRooted(pid, "bundles/two/rootfs", `100 99 0:50 / / rw,relatime - overlay overlay ${options}`);
  const layout = await open().layout(pid, GIVEN);
  return layout.kind === "overlay" ? layout.layers.map(({ id }) => id) : [];
}

it("never gives two directories one name: containerd counts snapshots from 1 below each of its roots", async () => {
  const [one, other] = [await snapshots(1, "/a/snapshots/5/fs"), await snapshots(2, "/b/snapshots/5/fs")];
  expect(one).toEqual([expect.stringMatching(/^snapshots\/5@[0-9a-f]{16}$/)]);
  expect(other).not.toEqual(one);
});

it("finds snapshots that are named from their common folder, as containerd mounts many: the names are those of the whole paths", async () => {
  expect(await snapshots(1, "6/fs:5/fs")).toEqual(await snapshots(2, "/a/snapshots/6/fs:/a/snapshots/5/fs"));
});

it("gives one directory one name in every container", async () => {
  const of = (...numbers: readonly number[]): string => numbers.map((each) => `/a/snapshots/${each}/fs`).join(":");
  expect(await snapshots(1, of(6, 5))).toEqual((await snapshots(2, of(7, 6, 5))).slice(0, 2));
});

describe("a container that changed its root before it was looked at", () => {
  /** The runtime's own view, in which its mount has the device that the directory of the test has. */
  function outside(): string {
    const device = deviceName(statSync(directory).dev);
    writeFileSync(join(directory, "proc/3/mountinfo"), `90 1 ${device} / ${directory}/bundles/two/rootfs rw - overlay overlay ${overlay("l/BBB:l/AAA")}\n`);
    return device;
  }
  const TRUE_LAYERS = [{ path: expect.stringMatching(/base\/diff$/) }, { path: expect.stringMatching(/top\/diff$/) }];
  const EVIL = (): string => `300 1 0:77 / / rw - overlay overlay ${overlay("/evil")}`;

  it("is measured where the runtime put it, and tells of the other root as a mount", async () => {
    const device = outside();
    writeRooted(7, "elsewhere", EVIL(), TMPFS);
    expect(await open().layout(7, GIVEN)).toMatchObject({
      kind: "overlay",
      layers: TRUE_LAYERS,
      device,
      mounts: [{ destination: "/", type: "overlay", device: "0:77", source: "another root" }, { destination: "/run time" }],
    });
  });

  it("is told also where the other root is a directory of the same filesystem", async () => {
    const device = outside();
    writeRooted(7, "bundles/two/rootfs/evil", `300 1 ${device} /evil / rw - overlay overlay ${overlay("l/BBB:l/AAA")}`);
    expect(await open().layout(7, GIVEN)).toMatchObject({ layers: TRUE_LAYERS, mounts: [{ destination: "/", root: "/evil", source: "another root" }] });
  });

  it("is not deceived by a mount of its own before the true one", async () => {
    const device = outside();
    writeRooted(7, "bundles/two/rootfs", EVIL(), `301 300 ${device} / / rw - overlay overlay ${overlay("l/BBB:l/AAA")}`);
    expect(await open().layout(7, GIVEN)).toMatchObject({ layers: TRUE_LAYERS, device, mounts: [{ destination: "/", device: "0:77" }] });
  });

  it("is not certain where its mounts are out of sight (chroot)", async () => {
    outside();
    writeRooted(7, "elsewhere");
    expect(await open().layout(7, GIVEN)).toMatchObject({ layers: TRUE_LAYERS, unproven: expect.stringContaining("another root"), mounts: [] });
  });

  it("is not certain where nobody says which root it was given, and asked again", async () => {
    write(7);
    const root = open();
    for (const given of [undefined, { ...GIVEN, containerId: "three" }])
      expect(await root.layout(7, given)).toMatchObject({ kind: "overlay", unproven: expect.stringContaining("runtime") });
    const settled = await root.layout(7, GIVEN);
    expect(settled).toMatchObject({ kind: "overlay" });
    expect(settled).not.toHaveProperty("unproven");
  });

  it("has of the node what the runtime sees mounted too, whatever has been made a slave in the container", async () => {
    outside();
    const [given, shown] = [`110 100 0:60 /sub /host rw master:7 - tmpfs node rw`, `111 110 0:61 / /host/volume rw master:8 - tmpfs node rw`];
    const nodes = readFileSync(join(directory, "proc/3/mountinfo"), "latin1");
    writeFileSync(
      join(directory, "proc/3/mountinfo"),
      `${nodes}60 1 0:60 / /srv rw shared:7 - tmpfs node rw\n61 60 0:61 / /srv/sub/volume rw shared:8 - tmpfs node rw\n`,
    );
    // A bind of what lies in the directory itself, and a filesystem of their own whose peer lives on in another mount namespace.
    const own = ["112 110 0:60 /sub/a /host/b rw master:7 - tmpfs node rw", "113 110 0:62 / /host/c rw master:9 - tmpfs evil rw"];
    write(7, given, shown, ...own);
    const layout = await open().layout(7, GIVEN);
    const told = layout.kind === "gone" ? [] : layout.mounts;
    expect(told.map(({ destination, propagated }) => [destination, propagated])).toEqual([
      ["/host", false],
      ["/host/volume", true],
      ["/host/b", false],
      ["/host/c", false],
    ]);
  });

  it("is found by an absolute path in the runtime's own view", async () => {
    write(7, TMPFS);
    expect(await open().layout(7, { containerId: "two", path: join(directory, "bundles/two/rootfs") })).not.toHaveProperty("unproven");
  });
});
