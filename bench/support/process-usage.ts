/** What a process used, from /proc. */
import { readdirSync, readFileSync } from "node:fs";

const TICK_MS = 10;

function ticks(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** User and system time of a process with all its threads since it began, in milliseconds (a tick is 10). */
export function cpuMs(pid: number): number {
  return ticks(readFileSync(`/proc/${pid}/stat`, "utf8")) * TICK_MS;
}

/** The same of its first thread alone: the event loop. */
export function mainThreadMs(pid: number): number {
  return ticks(readFileSync(`/proc/${pid}/task/${pid}/stat`, "utf8")) * TICK_MS;
}

/** Resident memory now and at its highest, in megabytes. */
export function memoryMb(pid: number): { readonly rss: number; readonly peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? Number.NaN) * 1024;
  return { rss: of("VmRSS") / 1e6, peak: of("VmHWM") / 1e6 };
}

/** The process that a wrapper (unshare, nsenter) has become or started: the one below `pid` whose command line holds `part`. */
export function descendant(pid: number, part: string): number {
  const parents = new Map<number, number>();
  const matching: number[] = [];
  for (const name of readdirSync("/proc").filter((each) => /^\d+$/.test(each))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
      if (readFileSync(`/proc/${name}/cmdline`, "latin1").split("\0")[0]?.includes("node") && readFileSync(`/proc/${name}/cmdline`, "latin1").includes(part))
        matching.push(Number(name));
    } catch {
      // It has ended meanwhile.
    }
  }
  for (const candidate of matching)
    for (let at: number | undefined = candidate; at !== undefined && at > 1; at = parents.get(at)) if (at === pid) return candidate;
  throw new Error(`no process below ${pid} runs ${part}`);
}

/** @param share 0..1 @returns NaN of nothing */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}
