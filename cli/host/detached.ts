/** Services as detached processes: pid and start time in a file, output in a log. Nothing restarts them. */
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { HostError } from "./error.ts";
import type { Layout, ServiceName } from "./layout.ts";
import type { ServiceDefinition, ServiceKeeper } from "./services.ts";

/** Above the services' own time for handing over what they hold. */
const GRACE_MS = 20_000;
const KILL_MS = 10_000;
const POLL_MS = 50;
/** A log that has grown over this is put aside (one generation) at the next start. */
const MAX_LOG_BYTES = 16 << 20;
const TAIL_LINES = 12;

/** A process told apart from a later one with the same pid: `startTicks` is field 22 of /proc/PID/stat, clock ticks since boot. */
interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: string;
  readonly bootId: string;
}

export function detachedServices(layout: Layout): ServiceKeeper {
  const stop = async (name: ServiceName): Promise<void> => {
    const process_ = readPidFile(layout, name);
    if (process_) await end(process_, name);
    rmSync(layout.pidFile(name), { force: true });
  };
  return {
    description: "detached processes: nothing restarts them, not even a reboot",
    async start(service) {
      await stop(service.name);
      const identity = await launch(service, layout.log(service.name));
      mkdirSync(dirname(layout.pidFile(service.name)), { recursive: true, mode: 0o700 });
      writeFileSync(layout.pidFile(service.name), JSON.stringify(identity), { mode: 0o600 });
    },
    stop,
    async isRunning(name) {
      const process_ = readPidFile(layout, name);
      return process_ !== undefined && isAlive(process_);
    },
    async logTail(name) {
      try {
        return readFileSync(layout.log(name), "utf8").trimEnd().split("\n").slice(-TAIL_LINES).join("\n");
      } catch {
        return "";
      }
    },
    remove: async () => {},
  };
}

async function launch({ name, argv }: ServiceDefinition, logPath: string): Promise<ProcessIdentity> {
  mkdirSync(dirname(logPath), { recursive: true, mode: 0o700 });
  if ((statSync(logPath, { throwIfNoEntry: false })?.size ?? 0) > MAX_LOG_BYTES) renameSync(logPath, `${logPath}.1`);
  const log = openSync(logPath, "a", 0o600);
  const [file = "", ...args] = argv;
  const child = spawn(file, args, { detached: true, cwd: "/", stdio: ["ignore", log, log], env: serviceEnvironment() });
  closeSync(log);
  const failure = await new Promise<Error | undefined>((resolve) => {
    child.once("spawn", () => resolve(undefined));
    child.once("error", resolve);
  });
  const identity = child.pid === undefined ? undefined : identify(child.pid);
  if (failure || !identity) throw new HostError("START_FAILED", `${name} did not start: ${failure?.message ?? "it ended at once"}`);
  child.unref();
  return identity;
}

/** What a shell happens to hold (NODE_OPTIONS, credentials) is not for a privileged service. */
function serviceEnvironment(): NodeJS.ProcessEnv {
  const wanted = /^(PATH|HOME|TZ|LANG|HTTPS?_PROXY|NO_PROXY|https?_proxy|no_proxy|DOCKER_CONFIG|HULLMARK_.*)$/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => wanted.test(name) && name !== "HULLMARK_CONFIG"));
}

function readPidFile(layout: Layout, name: ServiceName): ProcessIdentity | undefined {
  try {
    const { pid, startTicks, bootId } = JSON.parse(readFileSync(layout.pidFile(name), "utf8")) as Partial<ProcessIdentity>;
    return typeof pid === "number" && pid > 1 && startTicks !== undefined && bootId !== undefined ? { pid, startTicks, bootId } : undefined;
  } catch {
    return undefined;
  }
}

function identify(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is the command in parentheses, and may itself hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const startTicks = fields[19];
    if (startTicks === undefined || fields[0] === "Z" || fields[0] === "X") return undefined;
    return { pid, startTicks, bootId: readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim() };
  } catch {
    return undefined;
  }
}

function isAlive({ pid, startTicks, bootId }: ProcessIdentity): boolean {
  const now = identify(pid);
  return now?.startTicks === startTicks && now.bootId === bootId;
}

async function end(process_: ProcessIdentity, name: ServiceName): Promise<void> {
  if ((await signalled(process_, "SIGTERM", GRACE_MS)) || (await signalled(process_, "SIGKILL", KILL_MS))) return;
  throw new HostError("STOP_FAILED", `${name} (pid ${process_.pid}) does not end`);
}

/** @returns whether it is gone within the time */
async function signalled(process_: ProcessIdentity, signal: NodeJS.Signals, withinMs: number): Promise<boolean> {
  if (isAlive(process_)) process.kill(process_.pid, signal);
  for (const untilMs = Date.now() + withinMs; isAlive(process_); await new Promise((resolve) => setTimeout(resolve, POLL_MS)))
    if (Date.now() > untilMs) return false;
  return true;
}
