/** Who did it, in real containers: by programs that live for a millisecond, and what runs from memory for a moment. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { FanotifyChangeSource } from "@hullmark/agent/adapters/fanotify/fanotify-source";
import { ProcfsInspector } from "@hullmark/agent/adapters/procfs/procfs-inspector";
import { MountInfoRootFilesystem } from "@hullmark/agent/adapters/rootfs/mountinfo-root";
import type { Change, ChangeEntrance } from "@hullmark/agent/ports/change-source";
import type { CodePlaceName, InspectedCode } from "@hullmark/agent/ports/process-inspector";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { startTestbed, type Testbed } from "../../deploy/testbed/index.ts";
import { overlayDirectories } from "../fakes/overlay-directories.ts";
import { programImage } from "../fakes/program-image.ts";

const ROUNDS = 50;

let bed: Testbed;
let scratch: string;
let programs: string[];
let containerId: string;
let pid: number;
let upper: string;

const docker = async (...argv: string[]): Promise<string> => {
  const { stdout } = await promisify(execFile)("docker", argv, { env: { ...process.env, DOCKER_HOST: bed.engine?.dockerHost } });
  return stdout.trim();
};

beforeAll(async () => {
  bed = await startTestbed({ name: "attribution", parts: { engine: true } });
  scratch = mkdtempSync(join(bed.directory, "image-"));
  const root = join(scratch, "root");
  mkdirSync(root);
  programs = programImage(root);
  for (let i = 0; i < ROUNDS; i++) writeFileSync(join(root, `w/sed-${i}`), "aaa\n");
  const archive = join(scratch, "root.tar");
  await promisify(execFile)("tar", ["-C", root, "-cf", archive, "."]);
  await docker("import", archive, "programs");
  containerId = await docker("run", "-d", "--network", "none", "--user", "7:7", "programs", "/bin/sleep", "600");
  pid = Number(await docker("inspect", "-f", "{{.State.Pid}}", containerId));
  ({ upper } = await overlayDirectories(pid));
}, 300_000);
afterAll(async () => {
  await bed?.down();
  rmSync(scratch, { recursive: true, force: true });
});

/** One exec with many short-lived writers; each file is named after the program that must be told. */
function script(round: number): string {
  const lines = [
    `echo x >> /w/dash-${round}`,
    `(echo x >> /w/dash-fork-${round})`,
    `dd if=/etc/conf of=/w/dd-${round} 2>/dev/null`,
    `cp /etc/conf /w/cp-${round}`,
    `sed -i s/a/b/ /w/sed-${round}`,
    `perl -e 'open F, ">>/w/perl-${round}"; print F 1'`,
    `sh -c 'echo x > /w/dash-before-${round}; exec dd if=/etc/conf of=/w/dd-after-${round} 2>/dev/null'`,
    `script /w/dash-script-${round}`,
  ];
  if (programs.includes("python3")) lines.push(`python3 -S -c 'open("/w/python3-${round}", "w").write("1")'`);
  return lines.join("\n");
}

const DIRECT = [
  ["dash", (path: string) => ["/bin/sh", "-c", `echo x >> ${path}`]],
  ["dd", (path: string) => ["/bin/dd", "if=/etc/conf", `of=${path}`]],
  ["cp", (path: string) => ["/bin/cp", "/etc/conf", path]],
] as const;

it("names the right program for at least 95 % of short-lived writers in a container, and never a wrong one", async () => {
  const source = new FanotifyChangeSource({ scratchDirectory: scratch });
  const seen: Change[] = [];
  const problems: string[] = [];
  await source.start({
    changes: (batch) => seen.push(...batch),
    lost: (detail) => problems.push(detail),
    processStarted: () => {},
    failed: (error) => problems.push(error.message),
  });
  try {
    source.watch("upper", upper);
    const expected: string[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      await docker("exec", "--user", "0", containerId, "/bin/sh", "-c", script(round));
      expected.push(...[...script(round).matchAll(/\/w\/([\w-]+)/g)].map(([, name = ""]) => name));
      const [program, argv] = DIRECT[round % DIRECT.length] as (typeof DIRECT)[number];
      await docker("exec", "--user", "0", containerId, ...argv(`/w/${program}-direct-${round}`));
      expected.push(`${program}-direct-${round}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    const wrong: string[] = [];
    let right = 0;
    for (const name of expected) {
      const actors = seen.filter(({ path }) => path.toString() === `w/${name}`).flatMap(({ actor }) => (actor ? [actor] : []));
      const program = name.slice(0, name.indexOf("-"));
      const names = (executable: string) => executable.endsWith(`/${program}`) || (program === "dash" && executable === "/bin/sh");
      for (const actor of actors)
        if (!names(actor.executable) || (actor.located && (actor.containerId !== containerId || actor.uid !== 0)))
          wrong.push(`${name}: ${actor.executable} uid ${actor.uid} in ${actor.containerId}`);
      if (actors.some(({ executable }) => names(executable))) right++;
    }
    console.log(`${right} of ${expected.length} named`);
    expect(problems).toEqual([]);
    expect(wrong).toEqual([]);
    expect(expected.length).toBeGreaterThanOrEqual(ROUNDS * 9);
    expect(right / expected.length).toBeGreaterThanOrEqual(0.95);
  } finally {
    await source.stop();
  }
}, 300_000);

it("tells an exec's writes from those of the container's own process, orphans and all, and so does one that is started later", async () => {
  const own = `while [ ! -e /w/go ]; do sleep 0.2; done; echo x > /w/own; (sleep 0.5; echo x > /w/own-orphan) & while [ ! -e /w/again ]; do sleep 0.2; done; echo x > /w/own-late; exec sleep 600`;
  const id = await docker("run", "-d", "--network", "none", "programs", "/bin/sh", "-c", own);
  const main = Number(await docker("inspect", "-f", "{{.State.Pid}}", id));
  const upperOf = (await overlayDirectories(main)).upper;
  const seen: Change[] = [];
  const start = async (): Promise<FanotifyChangeSource> => {
    const source = new FanotifyChangeSource({ scratchDirectory: scratch });
    await source.start({ changes: (batch) => seen.push(...batch), lost: () => {}, processStarted: () => {}, failed: () => {} });
    source.watch("upper", upperOf);
    return source;
  };
  const told = async (name: string) => {
    const find = () => seen.find(({ path, actor }) => path.toString() === `w/${name}` && actor?.entrance)?.actor?.entrance;
    await vi.waitFor(() => expect(find(), name).toBeDefined(), { timeout: 60_000, interval: 50 });
    return find();
  };
  let source = await start();
  try {
    const session = "echo x > /w/exec; (sleep 0.5; echo x > /w/exec-orphan) & while [ ! -e /w/again ]; do sleep 0.2; done; echo x > /w/exec-late";
    await docker("exec", "-d", id, "/bin/sh", "-c", session);
    await docker("exec", id, "/bin/sh", "-c", "echo > /w/go");
    for (const name of ["own", "own-orphan"]) expect(await told(name), name).toMatchObject({ pid: main, init: true, fromHost: true });
    const exec = await told("exec");
    expect(exec).toMatchObject({ fromHost: true, init: false, from: ["runc", expect.stringMatching(/^containerd-shim/), ...(exec?.from.slice(2) ?? [])] });
    expect(exec?.pid).not.toBe(main);
    expect(await told("exec-orphan")).toMatchObject({ pid: exec?.pid });
    // What it was there before: parents of orphans say nothing, sessions do.
    await source.stop();
    source = await start();
    await docker("exec", id, "/bin/sh", "-c", "echo > /w/again");
    expect(await told("own-late")).toMatchObject({ pid: main, init: true });
    expect(await told("exec-late")).toMatchObject({ pid: exec?.pid, init: false });
  } finally {
    await source.stop();
    await docker("rm", "-f", id);
  }
}, 180_000);

it("sees a program that runs from memory or from a tmpfs for a fifth of a second", async () => {
  const source = new FanotifyChangeSource({ scratchDirectory: scratch });
  const inspector = new ProcfsInspector();
  const overlay = await new MountInfoRootFilesystem().layout(pid, undefined);
  if (overlay.kind !== "overlay") throw new Error(`root is ${overlay.kind}`);
  const found: InspectedCode[] = [];
  const entrances = new Map<number, ChangeEntrance>();
  let looks = Promise.resolve();
  await source.start({
    changes: () => {},
    lost: () => {},
    failed: () => {},
    processStarted: (id, started, entrance) => {
      inspector.started(id, started);
      if (entrance) entrances.set(started, entrance);
      const request = {
        containerId,
        pid,
        rootDevice: overlay.device,
        capabilities: [],
        overlay: { layerPaths: overlay.layers.map(({ path }) => path), upperPath: overlay.upperPath },
      };
      looks = looks.then(async () => void found.push(...(await inspector.inspect(request, new AbortController().signal)).code));
    },
  });
  try {
    // memfd_create(2) is system call 319 on x86-64, 279 on arm64.
    const number = process.arch === "x64" ? 319 : 279;
    const memory = `my $fd = syscall(${number}, my $n = "payload", 0); open(my $to, ">&=", $fd); open(my $from, "<", "/bin/sleep");
      local $/; my $program = <$from>; syswrite($to, $program); exec {"/proc/self/fd/$fd"} "sleep", "0.2"`;
    const programs: readonly (readonly [CodePlaceName, readonly string[]])[] = [
      ["memfd", ["/bin/perl", "-e", memory]],
      ["tmpfs", ["/bin/sh", "-c", "cp /bin/sleep /dev/payload; /dev/payload 0.2"]],
      ["upper", ["/bin/sh", "-c", "cp /bin/sleep /tmp/payload; /tmp/payload 0.2"]],
    ];
    // On a machine whose cores are all taken, a fifth of a second can pass before anything of ours runs (SECURITY.md): five tries.
    for (const [place, argv] of programs) {
      for (let tries = 0; tries < 5 && !found.some((code) => code.place === place && code.path.toString().includes("payload")); tries++) {
        await docker("exec", "--user", "0", containerId, ...argv);
        await looks;
      }
    }
    // The runtime's own sealed copy is in the container for a moment at every exec, also at one that fails.
    for (let i = 0; i < 10; i++) await docker("exec", containerId, "/bin/absent").catch(() => {});
    await looks;
    expect(found.filter(({ path, place }) => place !== "layer" && !path.toString().includes("payload"))).toEqual([]);
    const places = found.filter(({ path }) => path.toString().includes("payload")).map(({ place, main }) => ({ place, main }));
    for (const place of ["memfd", "tmpfs", "upper"]) expect(places).toContainEqual({ place, main: true });
    const payloads = found.filter((each) => each.path.toString().includes("payload") && each.main).map((each) => entrances.get(each.pid));
    expect(payloads.filter((entrance) => entrance?.from[0] === "runc" && entrance.pid !== pid && !entrance.init)).toHaveLength(payloads.length);
  } finally {
    await source.stop();
  }
}, 120_000);
