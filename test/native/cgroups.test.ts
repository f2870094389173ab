/** Which container a process is in, by real cgroups of version 2 laid out as the runtimes do. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { containerOf, openProcessList } from "@hullmark/native";
import { afterEach, beforeEach, expect, test } from "vitest";
import { STATE_ROOT } from "../../deploy/testbed/paths.ts";

const HIERARCHY = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].find((folder) => existsSync(join(folder, "cgroup.controllers"))) ?? "";
const ID = "8f4c7d0c1b6e5a29".repeat(4);
const INNER = "0123456789abcdef".repeat(4);
const POD = "6d3a1c52_8f0e_4b7b_9a4e_2f1d0c9b8a76";
// A sanitizer's runtime is for the programs that load the addon.
const env = { ...process.env, LD_PRELOAD: "" };

let top: string;
let made: string[];
let child: ChildProcess | undefined;

beforeEach(() => {
  expect(HIERARCHY).not.toBe("");
  top = mkdtempSync(join(HIERARCHY, "hullmark-cgroups-"));
  made = [top];
});
afterEach(async () => {
  if (child && child.exitCode === null && child.signalCode === null) {
    child.kill("SIGKILL");
    await once(child, "close");
  }
  child = undefined;
  for (const folder of made.toReversed()) rmdirSync(folder);
});

function group(path: string): string {
  const folder = join(top, path);
  const missing: string[] = [];
  for (let at = folder; !existsSync(at); at = dirname(at)) missing.unshift(at);
  for (const each of missing) {
    mkdirSync(each);
    made.push(each);
  }
  return folder;
}

/** @returns pid of a process in that cgroup */
async function runIn(path: string): Promise<number> {
  child = spawn("/bin/sleep", ["600"], { env, stdio: "ignore" });
  await once(child, "spawn");
  writeFileSync(join(group(path), "cgroup.procs"), `${child.pid}`);
  return child.pid ?? 0;
}

test.each([
  ["kubelet and containerd, systemd", `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${POD}.slice/cri-containerd-${ID}.scope`],
  ["kubelet and containerd, cgroupfs", `kubepods/besteffort/pod6d3a1c52-8f0e-4b7b-9a4e-2f1d0c9b8a76/${ID}`],
  ["kubelet and CRI-O with crun", `kubepods.slice/kubepods-pod${POD}.slice/crio-${ID}.scope/container`],
  ["containerd where nobody set a path, systemd", `kubepods-pod${POD}.slice:cri-containerd:${ID}`],
  ["Docker, systemd", `system.slice/docker-${ID}.scope`],
  ["Docker, cgroupfs", `docker/${ID}`],
  ["podman", `machine.slice/libpod-${ID}.scope/container`],
  ["systemd inside a container", `system.slice/docker-${ID}.scope/init.scope`],
  ["Docker inside a container", `system.slice/docker-${ID}.scope/docker/${INNER}`],
])("%s", async (_, path) => {
  const pid = await runIn(path);
  expect(containerOf(pid)).toBe(ID);
  expect(openProcessList().now()).toContainEqual(expect.objectContaining({ pid, containerId: ID }));
});

test.each([
  ["a service", "system.slice/containerd.service"],
  ["CRI-O's monitor", `kubepods.slice/kubepods-pod${POD}.slice/crio-conmon-${ID}.scope`],
  ["podman's monitor", `machine.slice/libpod-conmon-${ID}.scope`],
  ["a pod's own", `kubepods/pod${ID.slice(0, 32)}`],
])("%s is no container's", async (_, path) => {
  const pid = await runIn(path);
  expect(containerOf(pid)).toBe("");
  expect(
    openProcessList()
      .now()
      .filter((each) => each.pid === pid),
  ).toEqual([]);
});

test("a process that is not there is in none", () => {
  expect(containerOf(2 ** 30)).toBe("");
});

/** As an agent in a pod sees them: by version 2 every container has a cgroup namespace of its own, in which its own processes are at `/`. */
test("from inside a cgroup namespace, its own processes and others', and who changed a file", async () => {
  const other = await runIn(`kubepods/podother/${INNER}`);
  const own = group(`kubepods/podagent/${ID}`);
  const folder = mkdtempSync(join(STATE_ROOT, "cgroups-"));
  const script = `
    import { execFileSync } from "node:child_process";
    import { readFileSync } from "node:fs";
    import { containerOf, FanotifySource, openProcessList } from ${JSON.stringify(join(import.meta.dirname, "../../native/index.ts"))};
    const shown = () => readFileSync("/proc/self/cgroup", "latin1").split("\\n").find((line) => line.startsWith("0::"));
    const [before, listed, others, after] = [shown(), openProcessList().now().find(({ pid }) => pid === process.pid)?.containerId, containerOf(${other}), shown()];
    const source = new FanotifySource({ modify: true }, ({ changes }) => {
      const actor = changes.find(({ path }) => path.toString() === "file")?.actor;
      if (!actor) return;
      source.stop();
      console.log(JSON.stringify({ before, after, own: containerOf(process.pid), listed, others, actor: actor.containerId }));
    });
    source.watch(0, Buffer.from(${JSON.stringify(folder)}));
    execFileSync("/bin/sh", ["-c", "echo x >file; sleep 0.1"], { cwd: ${JSON.stringify(folder)}, env: { LD_PRELOAD: "" } });
  `;
  try {
    const enter = 'echo $$ >"$1/cgroup.procs" && exec unshare --cgroup --mount -- env LD_PRELOAD="$2" "$3" --input-type=module --eval "$4"';
    const args = ["-c", enter, "sh", own, process.env["LD_PRELOAD"] ?? "", process.execPath, script];
    expect(JSON.parse(execFileSync("/bin/sh", args, { env, encoding: "utf8" }))).toEqual({
      ...{ before: "0::/", after: "0::/", own: ID, listed: ID, others: INNER },
      actor: ID,
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
