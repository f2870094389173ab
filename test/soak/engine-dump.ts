/** What engine and runtime are about, for a person who must tell why they do not answer. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Testbed } from "../../deploy/testbed/index.ts";
import { findByEnvironment } from "../../deploy/testbed/process-identity.ts";
import { readState } from "../../deploy/testbed/state.ts";
import { markerOf } from "../../deploy/testbed/sweep.ts";
import { pause } from "./pause.ts";

const WAIT_MS = 15_000;
const POLL_MS = 500;
const MAX_GOROUTINES = 30;
const MAX_FRAMES = 12;
const COMMAND_CHARS = 160;
/** Goroutines that work on a container; the others (listening, plugins, collectors) are the same on every engine. */
const ABOUT_CONTAINERS = /daemon\.\(\*Daemon\)\.(?:[Cc]ontainer|ProcessEvent|getInspectData)|libcontainerd\/remote\.\(\*client\)\.(?!processEventStream)/;
const CARRIERS =
  /^(?:google\.golang\.org\/grpc|net\/http|github\.com\/(?:gorilla|containerd\/ttrpc|docker\/docker\/(?:api\/server\/middleware|pkg\/authorization)))/;
const ABOUT_TASKS = /runc\/task\.\(\*service\)\.(?!forward)/;

/** Asks dockerd and the shims for their goroutines and looks at what runc does in the kernel. @returns text of at most some hundred lines; never throws */
export async function engineDump(bed: Testbed): Promise<string> {
  try {
    const own = new Set(findByEnvironment(markerOf(readState(bed.directory)?.id ?? "")).map(({ pid }) => pid));
    const runtimes = runtimeProcesses(own);
    const shims = new Set(runtimes.map(({ parent }) => parent).filter((pid) => read(`/proc/${pid}/cmdline`).includes("containerd-shim")));
    const engine = await engineStacks(bed);
    return ["dockerd on containers:", engine, "runc:", ...runtimes.map(({ text }) => text), "their shims:", await shimStacks(bed, shims)].join("\n");
  } catch (error) {
    return `the engine could not be asked what it does: ${error}`;
  }
}

async function engineStacks(bed: Testbed): Promise<string> {
  const pid = bed.engine?.daemon().process.pid;
  if (!pid) return "no engine";
  const folder = join(bed.directory, "run/docker");
  const dumps = (): string[] => readdirSync(folder).filter((name) => name.startsWith("goroutine-stacks"));
  const before = new Set(dumps());
  process.kill(pid, "SIGUSR1");
  let text = "";
  // Written in several parts: whole once it does not grow any more.
  for (const deadline = Date.now() + WAIT_MS; Date.now() < deadline; ) {
    await pause(POLL_MS);
    const name = dumps().find((each) => !before.has(each));
    const now = name ? read(join(folder, name)) : "";
    if (now !== "" && now === text) break;
    text = now;
  }
  return chosen(text.split("\n\n"), ABOUT_CONTAINERS);
}

/** runc's processes of this test bed's containers: what they wait for in the kernel. A first process that is still being made has no environment, but a parent. */
function runtimeProcesses(own: ReadonlySet<number>): { readonly parent: number; readonly text: string }[] {
  return readdirSync("/proc").flatMap((name) => {
    const pid = Number(name);
    const command = Number.isInteger(pid) ? read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim() : "";
    if (!/^(?:\S*\/)?runc /.test(command)) return [];
    const status = read(`/proc/${pid}/status`);
    const parent = Number(/^PPid:\s*(\d+)$/m.exec(status)?.[1]);
    if (!own.has(pid) && !own.has(parent)) return [];
    const state = /^State:\s*(.*)$/m.exec(status)?.[1];
    const where = read(`/proc/${pid}/stack`).trim().split("\n").slice(0, MAX_FRAMES).join("\n");
    return [{ parent, text: `${pid}, child of ${parent}, ${state}, in ${read(`/proc/${pid}/wchan`)}: ${command.slice(-COMMAND_CHARS)}\n${where}` }];
  });
}

/** A shim that has a runc running tells its goroutines in containerd's log (SIGUSR1). */
async function shimStacks(bed: Testbed, shims: ReadonlySet<number>): Promise<string> {
  if (shims.size === 0) return "no runc is running";
  const log = bed.containerd?.daemon.logPath ?? "";
  const told = (): string[] =>
    read(log)
      .split("\n")
      .filter((line) => line.includes("goroutine stack dump"));
  const before = told().length;
  for (const pid of shims) process.kill(pid, "SIGUSR1");
  for (const deadline = Date.now() + WAIT_MS; told().length < before + shims.size && Date.now() < deadline; ) await pause(POLL_MS);
  const stacks = told()
    .slice(before)
    .flatMap((line) => line.replaceAll("\\n", "\n").replaceAll("\\t", "\t").split("\n\n"));
  return chosen(stacks, ABOUT_TASKS);
}

function chosen(goroutines: readonly string[], about: RegExp): string {
  const found = goroutines.filter((each) => about.test(each)).map(functions);
  return found.length > 0 ? found.slice(0, MAX_GOROUTINES).join("\n\n") : `none of ${goroutines.length} goroutines`;
}

/** The first functions, without their arguments, files and numbers, and without how calls are carried. */
function functions(goroutine: string): string {
  const lines = goroutine.split("\n").filter((line) => !line.startsWith("\t") && !CARRIERS.test(line));
  return lines
    .slice(0, MAX_FRAMES)
    .map((line) => line.replace(/\((?:0x|\{|\.\.\.|\)).*$/, ""))
    .join("\n");
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
