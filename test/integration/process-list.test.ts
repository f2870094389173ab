/** Which processes are of containers, over this machine's own procfs and control groups. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openProcessList } from "@hullmark/native";
import { expect, test } from "vitest";
import { containerGroup, GROUPS, move } from "../fakes/container-group.ts";
import { startMapping } from "../fakes/mapping-process.ts";
import { scratch } from "../native/tree-support.ts";

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
