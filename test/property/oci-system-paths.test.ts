/** Paths of the kernel's that a runtime was told to hide. */
import { describe, expect, test } from "vitest";
import { hidesSystemPaths } from "../../agent/core/oci-spec.ts";

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
