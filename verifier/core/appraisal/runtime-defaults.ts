/** What a runtime gives every container without being asked: the line from which privilege is counted. */
import type { ContainerConfiguration } from "@hullmark/proto/v1/attestation";

export interface RuntimeDefaults {
  /** Without `CAP_`. */
  readonly capabilities: ReadonlySet<string>;
  /** Environment variables that the runtime sets where the image does not, with the values that it gives them; undefined: any. */
  readonly env: ReadonlyMap<string, ((hostname: string) => readonly string[]) | undefined>;
  /** Names of variables that depend on what else there is: set where the image has none of that name. */
  readonly envNames: RegExp | undefined;
  /** Where the runtime mounts things of its own, with the types (Mount.type) that they have there; undefined: a file of the engine's, judged by its content. */
  readonly mounts: ReadonlyMap<string, readonly string[] | undefined>;
  /** Types (Mount.type) of declared mounts that need no permission wherever they are. */
  readonly mountTypes: ReadonlySet<string>;
  readonly seccomp: ReadonlySet<string>;
  /** The image's user is passed on without its group. */
  readonly dropsGroup: boolean;
}

/** OCI Runtime Specification 1.1, "Default Filesystems"; `engine` are binds of the engine's own, for example of the memory that two containers share. */
const OCI_MOUNTS: readonly (readonly [string, readonly string[] | undefined])[] = [
  ["/proc", ["proc"]],
  ["/dev", ["tmpfs", "devtmpfs"]],
  ["/dev/pts", ["devpts"]],
  ["/dev/mqueue", ["mqueue", "engine"]],
  ["/dev/shm", ["tmpfs", "engine"]],
  ["/dev/console", ["devpts"]],
  ["/sys", ["sysfs", "engine"]],
  // With control groups of the first version a tmpfs that holds them.
  ["/sys/fs/cgroup", ["cgroup", "cgroup2", "tmpfs", "engine"]],
  ["/etc/hosts", undefined],
  ["/etc/hostname", undefined],
  ["/etc/resolv.conf", undefined],
];
// moby/moby `oci/caps/defaults.go`; containerd `pkg/oci` has the same fourteen.
const DEFAULT_CAPABILITIES = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FSETID",
  "FOWNER",
  "MKNOD",
  "NET_RAW",
  "SETGID",
  "SETUID",
  "SETFCAP",
  "SETPCAP",
  "NET_BIND_SERVICE",
  "SYS_CHROOT",
  "KILL",
  "AUDIT_WRITE",
];

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Linux: names of hosts have 64 bytes at most. */
const MAX_HOSTNAME_CHARS = 253;

/** The container's own name, with its domain or a part of that, or without. */
function hostnames(hostname: string): string[] {
  const labels = hostname.slice(0, MAX_HOSTNAME_CHARS).split(".");
  return labels.map((_, i) => labels.slice(0, i + 1).join("."));
}

const DEFAULTS: RuntimeDefaults = {
  capabilities: new Set(DEFAULT_CAPABILITIES),
  // moby/moby `container.CreateDaemonEnvironment`: TERM with a terminal only. HOME is set by the OCI runtime, past what is told.
  env: new Map([
    ["PATH", () => [DEFAULT_PATH]],
    ["HOSTNAME", hostnames],
    ["TERM", () => ["xterm"]],
  ]),
  envNames: undefined,
  mounts: new Map(OCI_MOUNTS),
  mountTypes: new Set(),
  seccomp: new Set(["default"]),
  dropsGroup: false,
};

/** The API server, and each Service that was there when the pod started, in the form of Docker's old links (kubelet `envvars.FromServices`). */
const SERVICE_LINKS = /^[A-Z_][A-Z0-9_]*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$/;

/**
 * What kubelet and runtime add for every pod. Volumes that the kubelet keeps for the very pod are asked for by its specification, as are
 * paths of the node; only the latter reach beyond the pod and need permission. A pod that asks for no seccomp profile gets none.
 */
const POD_DEFAULTS: RuntimeDefaults = {
  ...DEFAULTS,
  // The name of a pod in the node's network is the node's, which is not told; HOME is set by some runtimes (CRI-O).
  env: new Map([...DEFAULTS.env, ["HOSTNAME", undefined], ["HOME", undefined]]),
  envNames: SERVICE_LINKS,
  mounts: new Map([...OCI_MOUNTS, ["/dev/termination-log", undefined]]),
  mountTypes: new Set(["kubelet", "pod-empty-dir", "pod-configmap", "pod-secret", "pod-projected", "pod-downward-api", "pod-volume"]),
  seccomp: new Set(["default", "unconfined"]),
  dropsGroup: true,
};

/** The defaults are the same for the runtimes known so far; a pod's container gets more. */
export function runtimeDefaults(pod: boolean): RuntimeDefaults {
  return pod ? POD_DEFAULTS : DEFAULTS;
}

/** Whether the configuration that the runtime was given is at hand: then its own mounts are declared. */
export function hasRuntimeConfiguration({ mounts }: ContainerConfiguration): boolean {
  return mounts.some(({ declared, destination }) => declared && destination === "/proc");
}

/** Whether a mount is one that the runtime makes without being asked: the place alone does not say so, anybody can bind a directory of the host there. */
export function isRuntimeMount({ mounts }: RuntimeDefaults, destination: string, type: string): boolean {
  return mounts.has(destination) && mounts.get(destination)?.includes(type) !== false;
}

/** Below the kernel's own filesystems what runtimes mount comes and goes. */
export function isKernelMount(destination: string): boolean {
  return /^\/(proc|sys)(\/|$)/.test(destination);
}
