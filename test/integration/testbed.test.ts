import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { answers } from "../../deploy/testbed/http-service.ts";
import { startTestbed } from "../../deploy/testbed/index.ts";
import { program, REPOSITORY, STATE_ROOT, testbedDirectory } from "../../deploy/testbed/paths.ts";
import { findByEnvironment } from "../../deploy/testbed/process-identity.ts";
import { run } from "../../deploy/testbed/run.ts";
import { readState } from "../../deploy/testbed/state.ts";
import { markerOf, sweep, sweepDead } from "../../deploy/testbed/sweep.ts";

// What a test bed promises to the machine that it runs on.

const NAME = "promise";
const module_ = join(REPOSITORY, "deploy/testbed/index.ts");
const bridges = async (): Promise<string> => run([program("ip"), "-json", "link", "show", "type", "bridge"]);

/** Starts a test bed in another process, which is killed by SIGKILL once it is up and has a container and a network of its own. */
async function startAndKill(name: string, alsoKillWatchdog: boolean): Promise<{ id: string; bridge: string }> {
  const script = `
    import { startTestbed } from ${JSON.stringify(module_)};
    await startTestbed({ name: ${JSON.stringify(name)}, parts: { engine: true, registry: true, tpms: 1 } });
    console.log("up");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve, reject) => {
    child.stdout.once("data", resolve);
    child.once("exit", () => reject(new Error("the test bed's process ended")));
  });
  const state = readState(testbedDirectory(name));
  if (!state) throw new Error("no state");
  const host = `unix://${testbedDirectory(name)}/run/docker.sock`;
  await run(["/bin/sh", "-c", `tar -C "$1" -c busybox | ${program("docker")} --host ${host} import - box`, "sh", join(STATE_ROOT, "cache")]);
  await run([program("docker"), "--host", host, "network", "create", "own"]);
  await run([program("docker"), "--host", host, "run", "-d", "--network", "own", "--name", "paused", "box", "/busybox", "sleep", "3600"]);
  await run([program("docker"), "--host", host, "pause", "paused"]);
  if (alsoKillWatchdog) {
    for (const found of findByEnvironment(markerOf(state.id))) {
      if (readFileSync(`/proc/${found.pid}/cmdline`, "latin1").includes("watchdog")) process.kill(found.pid, "SIGKILL");
    }
  }
  child.kill("SIGKILL");
  return { id: state.id, bridge: state.bridges[0] ?? "" };
}

async function expectNothingLeft(id: string, bridge: string, name: string): Promise<void> {
  expect(findByEnvironment(markerOf(id))).toEqual([]);
  expect(await bridges()).not.toContain(bridge);
  expect(existsSync(testbedDirectory(name))).toBe(false);
  expect(existsSync(`/sys/fs/cgroup/pids/hullmark-${id}`) || existsSync(`/sys/fs/cgroup/hullmark-${id}`)).toBe(false);
  expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(testbedDirectory(name));
}

afterAll(async () => {
  for (const name of [1, 2, 3, 4].map((n) => `${NAME}-${n}`)) await sweep(testbedDirectory(name));
});

test("the watchdog removes everything when the owner is killed", async () => {
  const name = `${NAME}-1`;
  const { id, bridge } = await startAndKill(name, false);
  // The folder goes before the watchdog itself does: it is one of the processes that must be gone.
  const left = (): boolean => existsSync(testbedDirectory(name)) || findByEnvironment(markerOf(id)).length > 0;
  for (let i = 0; i < 300 && left(); i++) await new Promise((resolve) => setTimeout(resolve, 100));
  await expectNothingLeft(id, bridge, name);
});

test("one that is kept outlives its owner, and has no watchdog; it goes by its name", async () => {
  const name = `${NAME}-4`;
  const script = `
    import { startTestbed } from ${JSON.stringify(module_)};
    const bed = await startTestbed({ name: ${JSON.stringify(name)}, parts: { registry: true } });
    await bed.keep();`;
  await run([process.execPath, "--input-type=module-typescript", "-e", script]);
  const state = readState(testbedDirectory(name));
  const commands = (): string[] => findByEnvironment(markerOf(state?.id ?? "")).map(({ pid }) => readFileSync(`/proc/${pid}/cmdline`, "latin1"));
  // Dismissed, it ends; did it not, it would by now be removing the test bed.
  for (let i = 0; i < 300 && commands().some((command) => command.includes("watchdog")); i++) await new Promise((resolve) => setTimeout(resolve, 100));
  expect(commands()).toEqual([expect.stringContaining("docker-registry")]);
  expect(await sweepDead()).not.toContain(name);
  expect(await answers(`http://${state?.parts["registry"]}/v2/`)).toBe(true);
  await run([process.execPath, join(REPOSITORY, "deploy/testbed/main.ts"), "down", name]);
  await expectNothingLeft(state?.id ?? "", "no bridge", name);
});

test("the next sweep removes what a killed owner and watchdog left, and only that", async () => {
  const name = `${NAME}-2`;
  const { id, bridge } = await startAndKill(name, true);
  expect(findByEnvironment(markerOf(id)).length).toBeGreaterThan(3);
  await using other = await startTestbed({ name: `${NAME}-3`, parts: { containerd: true } });
  await sweepDead();
  await expectNothingLeft(id, bridge, name);
  expect(await run(other.containerd?.ctr("version") ?? [])).toContain("Server:");
});

test("the host's packet filter and mounts are as before", async () => {
  const before = [readFileSync("/proc/self/mountinfo", "utf8"), readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8")];
  const bed = await startTestbed({ name: `${NAME}-3`, parts: { engine: true } });
  expect([readFileSync("/proc/self/mountinfo", "utf8"), readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8")]).toEqual(before);
  await bed.down();
  expect(existsSync(bed.directory)).toBe(false);
});
