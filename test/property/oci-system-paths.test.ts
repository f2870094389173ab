/** Paths of the kernel's that a runtime was told to hide. */
import { describe, expect, test } from "vitest";
import { parseMountInfo } from "../../agent/core/mountinfo.ts";
import { BUILT_IN_PATHS, hidesSystemPaths, openSystemPaths } from "../../agent/core/system-paths.ts";

const OLD = ["asound", "acpi", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi"].map((name) => `/proc/${name}`);
/** Docker 20.10, and the kubelet of Kubernetes 1.24. */
const masked = [...OLD, "/sys/firmware"];
const readOnly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const hidden = (maskedPaths?: string[], readonlyPaths?: string[]): boolean => hidesSystemPaths({ process: {}, linux: { maskedPaths, readonlyPaths } });

describe("the kernel's paths", () => {
  test("are hidden as by default, by old runtimes and by new ones that hide more", () => {
    expect(hidden(masked, readOnly)).toBe(true);
    expect(hidden(masked.slice(1), ["/proc/asound", ...readOnly])).toBe(true);
    expect(hidden([...masked, "/proc/interrupts", "/sys/devices/virtual/powercap"], readOnly)).toBe(true);
  });

  test("are open where all or one of them is left out", () => {
    expect(hidesSystemPaths({ process: {} })).toBe(false);
    expect(hidden()).toBe(false);
    expect(hidden([], [])).toBe(false);
    expect(hidden(masked, [])).toBe(false);
    expect(
      hidden(
        masked.filter((path) => path !== "/proc/kcore"),
        readOnly,
      ),
    ).toBe(false);
    expect(
      hidden(
        masked,
        readOnly.filter((path) => path !== "/proc/sys"),
      ),
    ).toBe(false);
  });
});

/** Of a container of Docker 20.10 with runc 1.1, on a kernel without /proc/kcore. */
const MOUNTED = `221 220 0:64 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
224 220 0:67 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
159 221 0:64 /bus /proc/bus ro,nosuid,nodev,noexec,relatime - proc proc rw
160 221 0:64 /fs /proc/fs ro,nosuid,nodev,noexec,relatime - proc proc rw
161 221 0:64 /irq /proc/irq ro,nosuid,nodev,noexec,relatime - proc proc rw
162 221 0:64 /sys /proc/sys ro,nosuid,nodev,noexec,relatime - proc proc rw
163 221 0:70 / /proc/acpi ro,relatime - tmpfs tmpfs ro
164 221 0:65 /null /proc/keys rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
165 221 0:65 /null /proc/timer_list rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
166 224 0:71 / /sys/firmware ro,relatime - tmpfs tmpfs ro`.split("\n");
const PRESENT = BUILT_IN_PATHS.filter((path) => !["/proc/kcore", "/proc/latency_stats", "/proc/sysrq-trigger"].includes(path));
const open = (lines: readonly string[], present: readonly string[] = PRESENT): string[] => openSystemPaths(parseMountInfo(lines.join("\n")), present);
const without = (path: string): string[] => MOUNTED.filter((line) => !line.includes(` ${path} `));

describe("what hides the kernel's paths", () => {
  test("is there as the runtime left it", () => expect(open(MOUNTED)).toEqual([]));

  test("is missed where it was taken away, of paths that this kernel has", () => {
    for (const path of PRESENT) expect(open(without(path))).toEqual([path]);
    expect(open(without("/proc/keys"), [])).toEqual([]);
    expect(open(MOUNTED, BUILT_IN_PATHS)).toEqual(["/proc/kcore", "/proc/latency_stats", "/proc/sysrq-trigger"]);
  });

  test("holds only while it is read-only, or something else than the kernel's own", () => {
    const writable = MOUNTED.map((line) => line.replace("/proc/sys ro,", "/proc/sys rw,"));
    expect(open(writable)).toEqual(["/proc/sys"]);
    expect(open([...without("/proc/keys"), "164 221 0:64 /keys /proc/keys ro - proc proc rw"])).toEqual(["/proc/keys"]);
    // The same put over it later is what is seen.
    expect(open([...MOUNTED, "170 162 0:64 /sys /proc/sys rw - proc proc rw"])).toEqual(["/proc/sys"]);
    // An empty directory of the runtime's (crun), and a tmpfs over what others make read-only.
    expect(open([...without("/sys/firmware"), "166 224 0:26 /crun/.empty-directory /sys/firmware ro - tmpfs tmpfs rw"])).toEqual([]);
    expect(open([...without("/proc/irq"), "161 221 0:72 / /proc/irq rw - tmpfs tmpfs rw"])).toEqual([]);
  });

  test("is not asked for where the kernel's filesystem is not, or shows processes only", () => {
    expect(open([])).toEqual([]);
    expect(open(["224 220 0:67 / /sys ro - sysfs sysfs ro"])).toEqual(["/sys/firmware"]);
    expect(open(["221 220 0:64 / /proc rw - proc proc rw,subset=pid"])).toEqual([]);
  });
});
