/** What is done to running containers, and what Hullmark must say of it. The demo shows them, the end-to-end test asserts them. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { overlayDirectories } from "../fakes/overlay-directories.ts";
import { added, appended, became, type ExpectedDrift, ran, removed } from "./expected-drift.ts";
import { ACCEPTANCE, CONTENT, loaderPath } from "./images/acceptance.ts";
import type { Programs } from "./images/programs.ts";

const run = promisify(execFile);

/** Hands on the host and in one container. */
export interface Victim {
  /** As Hullmark names it. */
  readonly container: string;
  readonly programs: Programs;
  /** Runs a program in the container to its end. */
  exec(...argv: string[]): Promise<string>;
  sh(script: string): Promise<string>;
  /** Starts a program in the container that stays. */
  background(...argv: string[]): Promise<string>;
  /** Runs a program where the runtime's directories are to be seen. */
  onHost(...argv: string[]): Promise<string>;
  /** Directory of an image layer on the node, 0 lowest. */
  layerDirectory(index: number): Promise<string>;
  /** Of the container's main process, as the host numbers it. */
  pid(): Promise<number>;
}

const entering = async (victim: Victim, namespaces: readonly string[], script: string): Promise<string> =>
  victim.onHost("nsenter", "--target", `${await victim.pid()}`, ...namespaces, "/bin/sh", "-c", script);

/** Runs a script of the container's shell as the host's root, in the container's mounts alone: nothing of its confinement holds. */
export const inMounts = (victim: Victim, script: string): Promise<string> => entering(victim, ["--mount"], script);

/** As {@link inMounts}, and what it leaves running ends with the container. */
const inProcesses = (victim: Victim, script: string): Promise<string> => entering(victim, ["--mount", "--pid"], script);

/** A container of a Docker Engine. */
export class DockerVictim implements Victim {
  readonly container: string;
  readonly programs: Programs;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #wrap: (argv: readonly string[]) => string[];

  /** @param wrap puts a host command into the engine's mount namespace */
  constructor(container: string, programs: Programs, dockerHost: string, wrap: (argv: readonly string[]) => string[]) {
    this.container = container;
    this.programs = programs;
    this.#environment = { ...process.env, DOCKER_HOST: dockerHost };
    this.#wrap = wrap;
  }

  async docker(...args: string[]): Promise<string> {
    const { stdout } = await run("docker", args, { env: this.#environment, maxBuffer: 16 * 1024 * 1024 });
    return stdout.trim();
  }

  exec(...argv: string[]): Promise<string> {
    return this.docker("exec", this.container, ...argv);
  }

  sh(script: string): Promise<string> {
    return this.exec("/bin/sh", "-c", script);
  }

  background(...argv: string[]): Promise<string> {
    return this.docker("exec", "-d", this.container, ...argv);
  }

  async onHost(...argv: string[]): Promise<string> {
    const [command = "", ...args] = this.#wrap(argv);
    const { stdout } = await run(command, args);
    return stdout.trim();
  }

  async pid(): Promise<number> {
    return Number(await this.docker("inspect", "-f", "{{.State.Pid}}", this.container));
  }

  async layerDirectory(index: number): Promise<string> {
    const { lower } = await overlayDirectories(await this.pid());
    const directory = lower[index];
    if (!directory) throw new Error(`${this.container} has no layer ${index}`);
    return directory;
  }
}

/** Planted where nothing must be told: once it is, the agent has seen what came before it. */
export const CANARY: ExpectedDrift = {
  path: "/srv/canary",
  kinds: ["added"],
  place: "upper",
  who: "busybox",
  differences: () => added(Buffer.from("x"), "0644"),
};
export const plantCanary = (victim: Victim): Promise<unknown> => victim.sh("printf x > /srv/canary");
export const removeCanary = (victim: Victim): Promise<unknown> => victim.sh("rm /srv/canary");

export interface Scenario {
  readonly name: string;
  attack(victim: Victim): Promise<unknown>;
  /** Empty: no drift may appear. */
  readonly expected: readonly ExpectedDrift[];
  /** Undoes it where another scenario on the same container would be disturbed. */
  restore?(victim: Victim): Promise<unknown>;
  /** `docker run` options for a container of its own. */
  readonly runOptions?: readonly string[];
}

const DEEP_NAME = "d".repeat(200);
const DEEP_COUNT = 60;

const STORED = { offset: 4096, text: "mapped store" } as const;

function stored(before: Buffer): Buffer {
  const after = Buffer.from(before);
  after.write(STORED.text, STORED.offset);
  return after;
}

/** In the order of the issue of concern: files, code, metadata, odd names, no drift, the node, configuration. */
export const SCENARIOS: readonly Scenario[] = [
  {
    name: "edit in place",
    attack: (v) => v.sh(`echo '# x' >> ${ACCEPTANCE.configFile}`),
    expected: [
      {
        path: ACCEPTANCE.configFile,
        kinds: ["content"],
        place: "upper",
        layerIndex: 0,
        who: "busybox",
        differences: () => appended(CONTENT.configFile, "# x\n"),
      },
    ],
  },
  {
    name: "rename-replace",
    attack: (v) => v.sh(`cp ${ACCEPTANCE.curl} /tmp/.n && echo evil >> /tmp/.n && mv /tmp/.n ${ACCEPTANCE.curl}`),
    expected: [
      { path: ACCEPTANCE.curl, kinds: ["content"], place: "upper", layerIndex: 1, who: "busybox", differences: () => appended(CONTENT.curl, "evil\n") },
    ],
  },
  {
    name: "store through a shared mapping, never closed",
    attack: (v) => v.background(ACCEPTANCE.tool, "store", "/app/data.bin", String(STORED.offset), STORED.text),
    expected: [{ path: "/app/data.bin", kinds: ["content"], place: "upper", layerIndex: 3, differences: () => became(CONTENT.data, stored(CONTENT.data)) }],
  },
  {
    name: "new executable, run",
    attack: async (v) => {
      await v.sh(`cp ${ACCEPTANCE.tool} /usr/local/bin/miner && chmod 755 /usr/local/bin/miner`);
      await v.background("/usr/local/bin/miner", "wait");
    },
    expected: [
      { path: "/usr/local/bin/miner", kinds: ["added"], place: "upper", who: "busybox", differences: ({ tool }) => added(tool, "0755") },
      {
        path: "/usr/local/bin/miner",
        kinds: ["code-upper"],
        place: "process",
        who: "miner",
        differences: ({ tool }) => ran(tool, "from a file written after start"),
      },
    ],
  },
  {
    name: "memfd",
    attack: (v) => v.background(ACCEPTANCE.tool, "memfd", ACCEPTANCE.tool, "wait"),
    expected: [{ path: /memfd/, kinds: ["code-memfd"], place: "process", differences: ({ tool }) => ran(tool, "from memory (memfd), no file at all") }],
  },
  {
    name: "run from /dev",
    attack: async (v) => {
      await v.sh(`cp ${ACCEPTANCE.tool} /dev/.x && chmod 755 /dev/.x`);
      await v.background("/dev/.x", "wait");
    },
    expected: [{ path: "/dev/.x", kinds: ["code-tmpfs"], place: "process", who: ".x", differences: ({ tool }) => ran(tool, "from memory (tmpfs)") }],
  },
  {
    name: "ld.so ./prog",
    attack: async (v) => {
      await v.sh(`cp ${ACCEPTANCE.hello} /tmp/prog && chmod 644 /tmp/prog`);
      await v.background(loaderPath(v.programs), "/tmp/prog", "600");
    },
    expected: [
      { path: "/tmp/prog", kinds: ["code-upper"], place: "process", who: "prog", differences: ({ hello }) => ran(hello, "from a file written after start") },
    ],
  },
  {
    name: "chmod u+s",
    attack: (v) => v.sh("chmod u+s /usr/bin/perl"),
    expected: [
      {
        path: "/usr/bin/perl",
        kinds: ["setuid"],
        place: "upper",
        layerIndex: 1,
        who: "busybox",
        differences: () => [{ field: "mode", expected: "0755", observed: "04755" }],
      },
    ],
  },
  {
    name: "setcap",
    attack: (v) => v.exec(ACCEPTANCE.tool, "setcap", ACCEPTANCE.hello),
    expected: [
      {
        path: ACCEPTANCE.hello,
        kinds: ["capability"],
        place: "upper",
        layerIndex: 3,
        who: "hullmark-tool",
        differences: () => [{ field: "xattr security.capability", expected: "absent", observed: "0x0100000200200000000000000000000000000000" }],
      },
    ],
  },
  {
    name: "chown",
    attack: (v) => v.sh("chown 33:33 /etc/passwd"),
    expected: [
      {
        path: "/etc/passwd",
        kinds: ["owner"],
        place: "upper",
        layerIndex: 0,
        who: "busybox",
        differences: () => ["uid", "gid"].map((field) => ({ field, expected: "0", observed: "33" })),
      },
    ],
  },
  {
    name: "delete",
    attack: (v) => v.sh("rm /app/config.yml"),
    expected: [
      { path: "/app/config.yml", kinds: ["removed"], place: "upper", layerIndex: 3, who: "busybox", differences: () => removed(CONTENT.settings, "0644") },
    ],
  },
  {
    name: "a name with newline and control bytes",
    attack: (v) => v.sh("printf x > \"$(printf '/srv/a\\nb\\033[31mc')\""),
    expected: [{ path: "/srv/a\\x0ab\\x1b[31mc", kinds: ["added"], place: "upper", who: "busybox", differences: () => added(Buffer.from("x"), "0644") }],
  },
  {
    name: "a path 12 kB deep",
    attack: (v) => v.exec(ACCEPTANCE.tool, "deep", "/srv", String(DEEP_COUNT), DEEP_NAME, "leaf"),
    expected: [
      {
        path: new RegExp(`^/srv/(d{200}/){${DEEP_COUNT}}leaf$`),
        kinds: ["added"],
        place: "upper",
        who: "hullmark-tool",
        differences: () => added(Buffer.from("deep\n"), "0644"),
      },
    ],
  },
  {
    name: "mkdir 0777 on an implied directory",
    // What was in it is there again, so that the directory itself is all that is told.
    attack: (v) => v.sh(`cd ${ACCEPTANCE.implied}/.. && mv state/counter /tmp/.c && rmdir state && mkdir -m 0777 state && mv /tmp/.c state/counter`),
    expected: [
      {
        path: ACCEPTANCE.implied,
        kinds: ["mode"],
        place: "upper",
        layerIndex: 3,
        who: "busybox",
        differences: () => [{ field: "mode", expected: /^07[05]{2}$/, observed: "0777" }],
      },
    ],
  },
  { name: "touch of an image file", attack: (v) => v.sh("touch /usr/bin/passwd /etc/os-release"), expected: [] },
  { name: "ln of an image file", attack: (v) => v.sh("ln /srv/index.html /srv/second-name"), expected: [] },
  {
    name: "lower layer edited on the host",
    attack: async (v) => v.onHost("sh", "-c", `echo poison >> "${await v.layerDirectory(1)}/usr/bin/curl"`),
    expected: [{ path: "/usr/bin/curl", kinds: ["content"], place: "layer", layerIndex: 1, differences: () => appended(CONTENT.curl, "poison\n") }],
    restore: async (v) => v.onHost("sh", "-c", `f="${await v.layerDirectory(1)}/usr/bin/curl"; truncate -s -7 "$f"`),
  },
  {
    name: "overlay xattr on a lower layer",
    attack: async (v) => v.onHost("setfattr", "-n", "trusted.overlay.redirect", "-v", "/opt", `${await v.layerDirectory(0)}/home`),
    expected: [
      {
        path: "/home",
        kinds: ["xattr"],
        place: "layer",
        layerIndex: 0,
        differences: () => [{ field: "xattr trusted.overlay.redirect", expected: "absent", observed: `0x${Buffer.from("/opt").toString("hex")}` }],
      },
    ],
    restore: async (v) => v.onHost("setfattr", "-x", "trusted.overlay.redirect", `${await v.layerDirectory(0)}/home`),
  },
  {
    name: "environment and capability that policy does not allow",
    runOptions: ["--env", "LD_PRELOAD=/tmp/x.so", "--cap-add", "NET_ADMIN"],
    attack: async () => undefined,
    expected: [
      { path: "", kinds: ["env"], place: "configuration", differences: () => [{ field: "env LD_PRELOAD", expected: "absent", observed: "set" }] },
      { path: "", kinds: ["capabilities"], place: "configuration", differences: () => [{ field: "capability", expected: "absent", observed: "NET_ADMIN" }] },
    ],
  },
];

/** What root on the host does to a container, and what it lets one do. */
export const HOST_SCENARIOS: readonly Scenario[] = [
  {
    name: "paths of the kernel's that are not hidden",
    runOptions: ["--security-opt", "systempaths=unconfined"],
    attack: async () => undefined,
    expected: [{ path: "", kinds: ["privileged"], place: "configuration" }],
  },
  {
    name: "every block device open to the container",
    runOptions: ["--device-cgroup-rule", "b *:* rwm"],
    attack: async () => undefined,
    expected: [{ path: "", kinds: ["device-node"], place: "configuration" }],
  },
  {
    name: "directories of the host where the runtime mounts things of its own",
    runOptions: ["/dev/shm", "/dev/mqueue", "/sys/fs/cgroup", "/sys/kernel"].flatMap((place) => ["--volume", `/etc:${place}`]),
    attack: async () => undefined,
    expected: ["/dev/shm", "/dev/mqueue", "/sys/fs/cgroup", "/sys/kernel"].map((path) => ({ path, kinds: ["mount"], place: "mount" })),
  },
  {
    name: "a mount from the host into a running container, a volume taken away, and what hides a path of the kernel's",
    runOptions: ["--volume", "/data"],
    attack: (v) => inMounts(v, "mount -t tmpfs none /srv && umount -n /data /sys/firmware"),
    expected: [
      { path: "", kinds: ["privileged"], place: "configuration" },
      { path: "/data", kinds: ["mount"], place: "mount" },
      { path: "/data", kinds: ["unmounted"], place: "mount" },
      { path: "/srv", kinds: ["undeclared-mount"], place: "mount" },
    ],
  },
  {
    name: "a read-only root mounted for writing",
    runOptions: ["--read-only"],
    attack: (v) => inMounts(v, "mount -n -o remount,bind,rw none /"),
    expected: [{ path: "", kinds: ["read-only-root"], place: "configuration" }],
    restore: (v) => inMounts(v, "mount -n -o remount,bind,ro none /"),
  },
  {
    name: "pivot_root",
    attack: (v) => inMounts(v, "mount -t tmpfs none /srv && mkdir /srv/old && cd /srv && pivot_root . old"),
    expected: [{ path: "/", kinds: ["undeclared-mount"], place: "mount" }],
  },
  {
    name: "a program with more privilege than its container",
    runOptions: ["--cap-drop", "ALL"],
    attack: (v) => inProcesses(v, "sleep 3600 < /dev/null > /dev/null 2>&1 &"),
    expected: [{ path: "", kinds: ["capabilities"], place: "configuration", who: "busybox" }],
  },
];
