import { readFileSync } from "node:fs";

export interface MemorySample {
  readonly seconds: number;
  readonly agentMiB: number;
  readonly verifierMiB: number;
}

/** Resident memory of a process, in MiB. @throws where the process is gone */
export function residentMiB(pid: number): number {
  const found = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  if (!found) throw new Error(`process ${pid} has no memory: it has ended`);
  return Math.round(Number(found) / 102.4) / 10;
}

/** The middle of the samples between two moments: one collection of garbage more or less does not matter. */
export function medianBetween(samples: readonly MemorySample[], from: number, to: number, of: "agentMiB" | "verifierMiB"): number {
  const chosen = samples.filter(({ seconds }) => seconds >= from && seconds <= to).map((sample) => sample[of]);
  chosen.sort((a, b) => a - b);
  return chosen[Math.floor(chosen.length / 2)] ?? Number.NaN;
}
