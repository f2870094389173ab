/** Small files of the node, as the agent reads them each few seconds: whole, or not at all. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ownDigests } from "@hullmark/agent/adapters/host/host-facts";
import { nodeFiles } from "@hullmark/agent/adapters/node-files/node-files";
import { addonPath } from "@hullmark/native";
import { afterAll, beforeAll, expect, it } from "vitest";

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-files-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

it.each([0, 1, 4096, 4097])("reads %i bytes, at most as many", async (size) => {
  const path = join(directory, `of-${size}`);
  const content = Buffer.alloc(size, "hull");
  writeFileSync(path, content);
  chmodSync(path, 0o640);
  expect(await nodeFiles.read(path, size)).toEqual({ content, sha256: createHash("sha256").update(content).digest(), mode: 0o640 });
  if (size > 0) expect(await nodeFiles.read(path, size - 1)).toBeUndefined();
});

it("reads what is there now: each answer is its own", async () => {
  const path = join(directory, "changing");
  writeFileSync(path, "one");
  const first = await nodeFiles.read(path, 16);
  writeFileSync(path, "two");
  expect((await nodeFiles.read(path, 16))?.content.toString()).toBe("two");
  expect(first?.content.toString()).toBe("one");
});

it("follows no link, and opens neither directory, FIFO nor device to read it", async () => {
  writeFileSync(join(directory, "target"), "x");
  symlinkSync("target", join(directory, "link"));
  mkdirSync(join(directory, "folder"));
  execFileSync("mkfifo", [join(directory, "fifo")]);
  for (const path of ["absent", "link", "folder", "fifo"].map((name) => join(directory, name))) expect(await nodeFiles.read(path, 1024), path).toBeUndefined();
  expect(await nodeFiles.read("/dev/zero", 1024)).toBeUndefined();
  // Says that it is empty, and is not.
  expect(await nodeFiles.read("/proc/self/status", 65_536)).toBeUndefined();
});

it("tells what the agent itself consists of: Node, the bundle and the addon, as they lie on the disk", async () => {
  const bundle = join(directory, "agent.js");
  writeFileSync(bundle, "the bundle");
  const sum = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");
  const own = await ownDigests(bundle);
  expect(Object.fromEntries(Object.entries(own).map(([name, digest]) => [name, digest.toString("hex")]))).toEqual({
    node: sum(process.execPath),
    agent: createHash("sha256").update("the bundle").digest("hex"),
    addon: sum(addonPath()),
  });
  // One that is not there is not told, which policy takes for unknown.
  expect(Object.keys(await ownDigests(join(directory, "gone")))).toEqual(["node", "addon"]);
});
