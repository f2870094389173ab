/** Load, and all that operators and engines rightly do to running containers: none of it may be told as drift. */
import type { Hands } from "./hands.ts";
import { pause } from "./pause.ts";
import type { SoakWorkload } from "./workloads.ts";

/** Between two rounds of load of one service: light enough for two processors that others use too. */
const LOAD_PAUSE_MS = 8_000;

export interface Operation {
  readonly name: string;
  run(hands: Hands, workload: SoakWorkload): Promise<unknown>;
  /** The container is away for a moment, rightly. */
  readonly restarts?: boolean;
}

export const OPERATIONS: readonly Operation[] = [
  { name: "looking around", run: (h, { service }) => h.sh(service.name, "ls -lR /etc >/dev/null; dpkg -l >/dev/null; cat /proc/self/maps >/dev/null") },
  { name: "a copy taken out", run: (h, { service }) => h.copyOut(service.name, "/etc") },
  { name: "touched", run: (h, { service }) => h.sh(service.name, "touch /usr/bin/env /etc/debian_version /usr/share/base-files") },
  { name: "linked", run: (h, { service }) => h.sh(service.name, "ln -f /usr/share/base-files/motd /usr/share/base-files/second-name") },
  { name: "thousands of processes", run: (h, { service }) => h.sh(service.name, "i=0; while [ $i -lt 1500 ]; do /bin/true; i=$((i+1)); done") },
  { name: "logs rotated", run: async (h, { service, rotate }) => rotate && h.sh(service.name, rotate) },
  { name: "engine reloaded", run: (h) => h.reloadEngine() },
  { name: "another network", run: (h, { service }) => h.docker("network", "connect", "soak-extra", service.name) },
  { name: "the other network left", run: (h, { service }) => h.docker("network", "disconnect", "soak-extra", service.name) },
  { name: "limits changed", run: (h, { service }) => h.docker("update", "--cpu-shares", "512", service.name) },
  { name: "paused", run: (h, { service }) => h.paused(service.name, 500) },
  {
    name: "a chatty session",
    run: (h, { service }) => h.sh(service.name, "for i in 1 2 3; do (sleep 0.3; date; id; env) >/dev/null; done; sh -c 'sleep 0.5' & wait"),
  },
  { name: "restarted", run: (h, { service }) => h.docker("restart", "--time", "5", service.name), restarts: true },
];

/** Loads one service until the signal: its own load, then one more of its works. Failures while it restarts are no matter of this test. */
export async function load(hands: Hands, { service, also }: SoakWorkload, signal: AbortSignal, failed: (error: unknown) => void): Promise<void> {
  for (let round = 0; !signal.aborted; round++) {
    const extra = also[round % Math.max(1, also.length)];
    try {
      await hands.docker("exec", service.name, ...service.load.map((word) => word.replace(/^su postgres -s \/bin\/sh -c "(.*)"$/s, "$1")));
      if (extra) await hands.asUser(service.name, "/bin/sh", "-c", extra);
    } catch (error) {
      failed(error);
    }
    await pause(LOAD_PAUSE_MS, signal);
  }
}
