import { readdirSync, readFileSync } from "node:fs";

/** A process told apart from a later one with the same pid. `startTicks` is field 22 of /proc/PID/stat: clock ticks since boot. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: string;
}

/** Identity of a live process, or undefined when there is none. Zombies count as gone once their other threads are, which hold the sockets until then. */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is the command in parentheses and may itself hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [threads, startTicks] = [Number(fields[17]), fields[19]];
    const gone = fields[0] === "X" || (fields[0] === "Z" && threads <= 1);
    return startTicks === undefined || gone ? undefined : { pid, startTicks };
  } catch {
    return undefined;
  }
}

/** Whether that very process still runs. */
export function isAlive(process_: ProcessIdentity): boolean {
  return identify(process_.pid)?.startTicks === process_.startTicks;
}

/** Random id of the running kernel's boot: start ticks of another boot say nothing. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
}

/** All processes whose environment at exec held `marker` ("NAME=VALUE"); children inherit it, so daemons of daemons are found. */
export function findByEnvironment(marker: string): ProcessIdentity[] {
  const needle = Buffer.from(marker);
  const found: ProcessIdentity[] = [];
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      if (!readFileSync(`/proc/${pid}/environ`).includes(needle)) continue;
    } catch {
      continue;
    }
    const identity = identify(pid);
    if (identity) found.push(identity);
  }
  return found;
}

/** Sends a signal unless the process is gone or its pid belongs to another by now. */
export function signal(process_: ProcessIdentity, name: NodeJS.Signals): void {
  if (!isAlive(process_)) return;
  try {
    process.kill(process_.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Waits until all are gone. @returns those left after `timeoutMs` */
export async function waitGone(processes: readonly ProcessIdentity[], timeoutMs: number): Promise<ProcessIdentity[]> {
  const deadline = Date.now() + timeoutMs;
  let left = processes.filter(isAlive);
  while (left.length > 0 && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    left = left.filter(isAlive);
  }
  return left;
}
