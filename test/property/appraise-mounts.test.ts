import { create } from "@bufbuild/protobuf";
import { CodeSetSchema, ContainerConfigurationSchema } from "@hullmark/proto/v1/attestation";
import { describe, expect, test } from "vitest";
import { appraiseConfiguration, environmentDigest } from "../../verifier/core/appraisal/appraise-configuration.ts";
import { appraiseProcessPrivileges } from "../../verifier/core/appraisal/appraise-privileges.ts";
import type { ContainerInput, ReferenceImage } from "../../verifier/core/appraisal/types.ts";
import { defaultPolicy, EVERYTHING, NO_ALLOWANCES, OBSERVED_ALLOWANCES } from "../../verifier/core/policy/default.ts";
import { containerRules } from "../../verifier/core/policy/match.ts";
import type { Policy, Protections } from "../../verifier/core/policy/types.ts";

const image = {
  merged: () => undefined,
  config: { env: [], entrypoint: [], cmd: [], user: "", workingDirectory: "", volumes: ["/volume"] },
} as unknown as ReferenceImage;

/** As Docker and containerd mount them. */
const RUNTIME_MOUNTS = {
  "/proc": "proc",
  "/dev": "tmpfs",
  "/dev/pts": "devpts",
  "/dev/shm": "tmpfs",
  "/dev/mqueue": "mqueue",
  "/sys": "sysfs",
  "/sys/fs/cgroup": "cgroup",
  "/etc/hosts": "bind",
};

/** Where findings of mounts are, of a container with the runtime's own mounts and these. */
function found(
  policy: Policy,
  mounts: readonly { readonly destination: string; readonly declared: boolean; readonly type?: string; readonly missing?: boolean }[],
  unmet: string[] = [],
  held: { readonly privileged?: boolean; readonly noNewPrivileges?: boolean; readonly readOnlyRoot?: boolean } = {},
): string[] {
  const runtime = Object.entries(RUNTIME_MOUNTS).map(([destination, type]) => ({ destination, declared: true, type }));
  const configuration = create(ContainerConfigurationSchema, { mounts: [...runtime, ...mounts], seccomp: "default", unmet, ...held });
  const rules = containerRules(policy, { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" });
  const input = { state: { configuration, identity: {}, filesystem: { bindFiles: [{ destination: "/etc/hosts" }] } }, rules } as unknown as ContainerInput;
  return appraiseConfiguration(input, image).map(({ kind, path }) => `${kind} ${path}`);
}

const allowing = (...mounts: string[]): Policy => ({
  ...defaultPolicy(),
  loaded: true,
  rules: [{ ...defaultPolicy().rules[0], name: "all", select: EVERYTHING, allow: { ...OBSERVED_ALLOWANCES, mounts } }] as unknown as Policy["rules"],
});

const requiring = (protections: Omit<Protections, "engineInits">): Policy => ({
  ...defaultPolicy(),
  loaded: true,
  rules: defaultPolicy().rules.map((rule) => ({ ...rule, protections: { ...protections, engineInits: [] } })),
});

const asked = { destination: "/data", declared: true, type: "bind" };
const appeared = { destination: "/usr/lib", declared: false, type: "tmpfs" };
const root = { destination: "/", declared: false, type: "overlay" };
const over = { destination: "/dev/shm", declared: false, type: "tmpfs" };

describe("mounts that nobody declared", () => {
  test("are told without a policy, though what was asked for is taken as meant", () => {
    expect(found(defaultPolicy(), [asked])).toEqual([]);
    expect(found(defaultPolicy(), [asked, appeared, root, over])).toEqual(["undeclared-mount /usr/lib", "undeclared-mount /", "undeclared-mount /dev/shm"]);
  });

  test("are allowed where a policy says so, another root never", () => {
    expect(found(allowing("/**"), [asked, appeared, over])).toEqual([]);
    expect(found(allowing("/**"), [root])).toEqual(["undeclared-mount /"]);
    expect(found(allowing("/data"), [asked, appeared])).toEqual(["undeclared-mount /usr/lib"]);
    expect(found(allowing(), [asked])).toEqual(["mount /data"]);
  });
});

describe("at a place of the runtime's own", () => {
  const places = Object.keys(RUNTIME_MOUNTS).filter((place) => place !== "/etc/hosts");

  test.each([...places, "/sys/kernel", "/proc/driver"])("a directory of the host on %s needs permission", (destination) => {
    for (const type of ["bind", "volume", "ext4"]) {
      expect(found(allowing(), [{ destination, declared: true, type }])).toEqual([`mount ${destination}`]);
      expect(found(allowing(destination), [{ destination, declared: true, type }])).toEqual([]);
    }
    expect(found(allowing(), [{ destination, declared: false, type: "ext4" }])).toEqual([`undeclared-mount ${destination}`]);
  });

  test("what the engine itself binds is not told: the memory and the kernel's filesystems that containers share", () => {
    for (const destination of ["/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"])
      expect(found(allowing(), [{ destination, declared: true, type: "engine" }])).toEqual([]);
    expect(found(allowing(), [{ destination: "/srv", declared: true, type: "engine" }])).toEqual(["mount /srv"]);
  });

  test("a terminal is not told, anything else in its place is", () => {
    expect(found(allowing(), [{ destination: "/dev/console", declared: false, type: "devpts" }])).toEqual([]);
    expect(found(allowing(), [{ destination: "/dev/console", declared: false, type: "ext4" }])).toEqual(["undeclared-mount /dev/console"]);
  });
});

describe("a file of the user's in place of the engine's", () => {
  test("is a mount that needs permission", () => {
    const resolver = { destination: "/etc/resolv.conf", declared: true, type: "bind" };
    expect(found(allowing(), [resolver])).toEqual(["mount /etc/resolv.conf"]);
    expect(found(allowing("/etc/resolv.conf"), [resolver])).toEqual([]);
    expect(found(defaultPolicy(), [resolver])).toEqual([]);
  });
});

describe("what was asked for and is not there", () => {
  test("a declared mount that the kernel shows no more is told, whatever may be mounted there", () => {
    const gone = { ...asked, missing: true };
    expect(found(allowing("/**"), [gone])).toEqual(["unmounted /data"]);
    expect(found(defaultPolicy(), [{ destination: "/volume", declared: true, type: "volume", missing: true }])).toEqual(["unmounted /volume"]);
    // What runtimes mount of their own below the kernel's filesystems comes and goes.
    expect(found(allowing("/**"), [{ destination: "/sys/fs/cgroup", declared: true, type: "cgroup", missing: true }])).toEqual([]);
  });

  test("protections that the engine was asked for and that do not hold are told, names that are not known are not", () => {
    expect(found(defaultPolicy(), [], ["no-new-privileges", "read-only-root", "x"])).toEqual(["no-new-privileges ", "read-only-root "]);
  });

  test("paths of the kernel's that are left open are told like privilege, once of a privileged container, and allowed with it", () => {
    const strict = { ...allowing(), rules: allowing().rules.map((rule) => ({ ...rule, allow: NO_ALLOWANCES })) };
    expect(found(strict, [], ["system-paths"])).toEqual(["privileged "]);
    expect(found(strict, [], ["system-paths"], { privileged: true })).toEqual(["privileged "]);
    expect(found(allowing(), [], ["system-paths"])).toEqual([]);
    expect(found(defaultPolicy(), [], ["system-paths"])).toEqual([]);
  });

  test("protections that policy requires are told where the container was started without, once", () => {
    const both = requiring({ noNewPrivileges: true, readOnlyRoot: true });
    expect(found(both, [])).toEqual(["no-new-privileges ", "read-only-root "]);
    expect(found(both, [], [], { noNewPrivileges: true })).toEqual(["read-only-root "]);
    expect(found(both, [], [], { noNewPrivileges: true, readOnlyRoot: true })).toEqual([]);
    expect(found(both, [], ["no-new-privileges"], { readOnlyRoot: true })).toEqual(["no-new-privileges "]);
    expect(found(both, [], ["read-only-root"], { noNewPrivileges: true, readOnlyRoot: true })).toEqual(["read-only-root "]);
    expect(found(requiring({ noNewPrivileges: false, readOnlyRoot: true }), [])).toEqual(["read-only-root "]);
  });
});

describe("a process that may more than its container", () => {
  const program = Buffer.from("/bin/sh");
  interface Given {
    readonly capabilities?: string[];
    readonly privileged?: boolean;
    readonly mounts?: { readonly destination: string; readonly declared: boolean; readonly type: string }[];
  }
  /** A container whose runtime configuration was read. */
  const known: Given = { mounts: [{ destination: "/proc", declared: true, type: "proc" }] };
  function privileged(policy: Policy, capabilities: string[], given: Given = {}) {
    const configuration = create(ContainerConfigurationSchema, { ...given });
    const code = create(CodeSetSchema, { privileged: [{ program, capabilities, pid: 7, uid: 1000, ancestry: ["runc"] }] });
    const rules = containerRules(policy, { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" });
    return appraiseProcessPrivileges({ state: { configuration, code, identity: {} }, rules } as unknown as ContainerInput);
  }

  test("is told with what it may, and by whom", () => {
    // Without a policy anything may have been asked for.
    expect(privileged(defaultPolicy(), ["CHOWN", "SYS_ADMIN", "SYS_PTRACE"])).toEqual([]);
    const strict = { ...allowing(), rules: allowing().rules.map((rule) => ({ ...rule, allow: NO_ALLOWANCES })) };
    expect(privileged(strict, ["CHOWN", "SYS_ADMIN", "SYS_PTRACE"])).toMatchObject([
      {
        kind: "capabilities",
        place: "configuration",
        actor: { pid: 7, executable: "/bin/sh", uid: 1000 },
        differences: [{ observed: "SYS_ADMIN SYS_PTRACE" }],
      },
    ]);
    expect(privileged(strict, ["CHOWN", "SYS_ADMIN"], { ...known, capabilities: ["CHOWN", "SYS_ADMIN"] })).toEqual([]);
    // Asked for none (`--cap-drop ALL`), it has none by default.
    expect(privileged(strict, ["CHOWN", "NET_RAW"], known)).toMatchObject([{ differences: [{ observed: "CHOWN NET_RAW" }] }]);
    expect(privileged(strict, ["CHOWN", "NET_RAW"], { ...known, capabilities: ["CHOWN"] })).toMatchObject([{ differences: [{ observed: "NET_RAW" }] }]);
    expect(privileged(strict, ["SYS_ADMIN"], { privileged: true })).toEqual([]);
  });
});

describe("variables that the image does not set", () => {
  const key = Buffer.alloc(32, 1);
  function told(env: Readonly<Record<string, string>>, pod?: object): string[] {
    const variables = Object.entries(env).map(([name, value]) => ({ name, digest: environmentDigest(key, name, value) }));
    const configuration = create(ContainerConfigurationSchema, { seccomp: "default", hostname: "web.example.org", envKey: key, env: variables });
    const strict = { ...allowing(), rules: allowing().rules.map((rule) => ({ ...rule, allow: NO_ALLOWANCES })) };
    const rules = containerRules(strict, { imageReference: "i", containerName: "c", workload: "w", labels: {}, nodeName: "n" });
    const input = { state: { configuration, identity: { pod }, filesystem: { bindFiles: [] } }, rules } as unknown as ContainerInput;
    return appraiseConfiguration(input, image).map(({ summary }) => summary);
  }
  const made = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", TERM: "xterm" };

  test("are the engine's where they have the value that it gives them, and nobody's otherwise", () => {
    for (const HOSTNAME of ["web", "web.example", "web.example.org"]) expect(told({ ...made, HOSTNAME })).toEqual([]);
    for (const [name, value] of [
      ["HOSTNAME", "other"],
      ["HOSTNAME", ""],
      ["TERM", "vt100"],
      ["PATH", "/tmp"],
      ["HOME", "/root"],
      ["LD_PRELOAD", "/x"],
    ] as const)
      expect(told({ ...made, [name]: value })).toEqual([`environment variable ${name} added`]);
    expect(told({ ...made, HOSTNAME: "node", HOME: "/root", X_SERVICE_HOST: "10.0.0.1" }, {})).toEqual([]);
  });
});
