/** What a runtime gives every container without being asked: the line from which privilege is counted. */

export interface RuntimeDefaults {
  /** Without `CAP_`. */
  readonly capabilities: ReadonlySet<string>;
  /** Environment variables that the runtime sets where the image does not, with the value; empty: it depends on the container. */
  readonly env: ReadonlyMap<string, string>;
  /** Where the runtime mounts things of its own; everything below `/proc`, `/sys` and `/dev` besides. */
  readonly mounts: ReadonlySet<string>;
}

const OCI_MOUNTS = [
  "/",
  "/proc",
  "/dev",
  "/dev/pts",
  "/dev/mqueue",
  "/dev/shm",
  "/dev/console",
  "/sys",
  "/sys/fs/cgroup",
  "/etc/hosts",
  "/etc/hostname",
  "/etc/resolv.conf",
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

const DEFAULTS: RuntimeDefaults = {
  capabilities: new Set(DEFAULT_CAPABILITIES),
  env: new Map([
    ["PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    ["HOSTNAME", ""],
    ["TERM", ""],
    ["HOME", ""],
  ]),
  mounts: new Set(OCI_MOUNTS),
};

/** The defaults are the same for the runtimes known so far. */
export function runtimeDefaults(): RuntimeDefaults {
  return DEFAULTS;
}

/** Below the kernel's own filesystems the runtime masks and binds paths as it sees fit. */
export function isKernelMount(destination: string): boolean {
  return /^\/(proc|sys)(\/|$)/.test(destination);
}
