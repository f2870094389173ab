/** Whether the paths of the kernel's that a runtime hides are hidden: by its configuration, and by what is mounted. */
import type { MountPoint } from "../ports/root-filesystem.ts";
import type { OciSpec } from "./oci-spec.ts";

/**
 * What every version of Docker (from 20.10), containerd (from 1.6) and the kubelet hides or makes read-only unless told otherwise; newer ones have more
 * (moby `oci.DefaultLinuxSpec`, Kubernetes `securitycontext.ConvertToRuntimeMaskedPaths`).
 */
const MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"];
const READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/** Those of them that come with the kernel: a runtime hides what is there when it starts a container, and a module may bring the others later. */
export const BUILT_IN_PATHS: readonly string[] = ["/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/sys/firmware", ...READ_ONLY];

/** Whether the runtime was told to hide the kernel's paths as it does by default, or more. */
export function hidesSystemPaths({ linux }: OciSpec): boolean {
  const masked = new Set(linux?.maskedPaths);
  const readOnly = new Set(linux?.readonlyPaths);
  return MASKED.every((path) => masked.has(path)) && READ_ONLY.every((path) => readOnly.has(path) || masked.has(path));
}

/**
 * Which of these paths are neither covered by a mount nor, of those that are left readable, mounted read-only. With what they are covered differs between
 * runtimes (/dev/null, an empty tmpfs, an empty directory): anything but the kernel's own filesystem does. Nothing is said of filesystems that are not
 * mounted, or show processes only.
 * @param present paths that this kernel has
 */
export function openSystemPaths(mounts: readonly (MountPoint & { readonly superOptions: string })[], present: readonly string[]): string[] {
  const at = (path: string) => mounts.findLast(({ destination }) => destination === path);
  return present.filter((path) => {
    const type = path.startsWith("/proc/") ? "proc" : "sysfs";
    const filesystem = at(type === "proc" ? "/proc" : "/sys");
    if (filesystem?.type !== type || filesystem.superOptions.split(",").includes("subset=pid")) return false;
    const mount = at(path);
    if (mount && mount.type !== type) return false;
    return !(READ_ONLY.includes(path) && mount?.options.includes("ro"));
  });
}
