/** Which processes are of containers, over this machine's own procfs and control groups. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openProcessList } from "@hullmark/native";
import { expect, onTestFinished, test } from "vitest";
import { startMapping } from "../fakes/mapping-process.ts";
import { scratch } from "../native/tree-support.ts";

/** Of version 2, or one controller's of version 1. */
const GROUPS = ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"].find((path) => existsSync(join(path, "cgroup.procs"))) ?? "";

/** A container's control group, without processes when the test ends. */
function containerGroup(): { readonly id: string; readonly path: string } {
  const id = randomBytes(32).toString("hex");
  const path = join(GROUPS, `docker-${id}.scope`);
  mkdirSync(path);
  onTestFinished(() => rmdirSync(path));
  return { id, path };
}

function move(pid: number, group: string): void {
  writeFileSync(join(group, "cgroup.procs"), `${pid}`);
}

test("a process is of the container in whose control group it last ran; nothing is remembered of one that runs or ends", async () => {
  const { id, path } = containerGroup();
  const { pid, does, end } = await startMapping(scratch());
  const remembering = openProcessList();
  const told = (list = remembering) => list.now().find((each) => each.pid === pid);
  // Alone in its mounts, so it is listed.
  expect(told()).toMatchObject({ containerId: "" });
  expect(told()).toEqual(told(openProcessList()));
  const namespace = told()?.mountNamespace;
  expect(namespace).toBeGreaterThan(0);
  move(pid, path);
  expect(told(openProcessList())).toMatchObject({ containerId: id });
  await does("something");
  expect(told()).toEqual({ pid, containerId: id, mountNamespace: namespace });
  move(pid, GROUPS);
  await does("something");
  expect(told()).toMatchObject({ containerId: "" });
  expect(readFileSync(join(path, "cgroup.procs"), "utf8")).toBe("");
  await end();
  expect(told()).toBeUndefined();
});
