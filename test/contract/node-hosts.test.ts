/** Whose hosts file the agent takes for the node's. */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { hostsEntries, nodeHosts } from "../../agent/core/hosts-file.ts";
import { scratch } from "../native/tree-support.ts";

test("the first process's, also once another has taken its place; the agent's own where that is not to be seen", async () => {
  const proc = scratch();
  const folder = join(proc, "1", "root", "etc");
  const read = (path: string) => readFile(path, "latin1");
  expect(await nodeHosts(read, proc)).toBe(await read("/etc/hosts"));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "hosts"), "10.0.0.1 registry\n");
  expect(hostsEntries(await nodeHosts(read, proc))).toEqual(["registry:10.0.0.1"]);
  writeFileSync(join(folder, "hosts.new"), "10.0.0.2 registry mirror # moved\n");
  renameSync(join(folder, "hosts.new"), join(folder, "hosts"));
  expect(hostsEntries(await nodeHosts(read, proc))).toEqual(["registry:10.0.0.2", "mirror:10.0.0.2"]);
  expect(await nodeHosts(() => Promise.reject(new Error("EACCES")), proc)).toBe("");
});
