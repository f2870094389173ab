/**
 * Parts of a capture in a process of its own, which is ended where it takes too long: it is this program again, by a flag. What encrypts takes more memory than a daemon otherwise has, and computes
 * for seconds; and to look at a process may never end (its program may lie on a file system that does not answer), which would hold up all else that the daemon does.
 */
import { type ChildProcess, execFile } from "node:child_process";
import { buffer } from "node:stream/consumers";
import { deserialize, serialize } from "node:v8";
import type { Seal } from "./capture.ts";
import type { ProcessSource } from "./collect.ts";

const SEAL = "--capture-seal";
const PROCESSES = "--capture-processes";
const SEAL_MS = 60_000;
/** Of what is sealed: a slow machine encrypts a megabyte in a second. */
const SEAL_MS_A_BYTE = 1000 / 2 ** 20;
/** What is sealed is larger by its header, and by 16 bytes for each 64 KiB; what is gathered by its names. */
const MORE_BYTES = 2 ** 20;

/** Processes that the system cannot end: what they wait for does not answer. */
const MAX_STUCK = 4;

interface RunLimits {
  readonly timeoutMs: number;
  readonly maxBuffer: number;
  /** Is told of a process that has not ended in time: it may never do. */
  readonly late?: (child: ChildProcess) => void;
}

/** How a program is started: file and arguments. */
export type Program = readonly string[];

/** @returns of this process */
export function ownProgram(): Program {
  return [process.execPath, ...process.execArgv, process.argv[1] ?? ""];
}

/** @param recipients age recipients, 1 at least */
export function sealApart(program: Program, recipients: readonly string[]): Seal {
  return async (plain) => {
    const limits = { timeoutMs: Math.ceil(SEAL_MS + plain.length * SEAL_MS_A_BYTE), maxBuffer: plain.length * 2 + MORE_BYTES };
    try {
      return await run([...program, SEAL, ...recipients], plain, limits);
    } catch (error) {
      throw new Error(`it could not be sealed: ${error instanceof Error ? error.message : "unknown"}`, { cause: error });
    }
  };
}

/** @param proc where procfs is mounted */
export function processesApart(program: Program, proc: string): ProcessSource {
  let stuck = 0;
  const late = (child: ChildProcess): void => {
    stuck++;
    child.once("exit", () => stuck--);
  };
  return async (containerId, maxBytes, withinMs) => {
    if (stuck >= MAX_STUCK) throw new Error(`${stuck} that looked at processes before have not come back`);
    const asked = [...program, PROCESSES, proc, containerId, String(maxBytes)];
    const found = await run(asked, undefined, { timeoutMs: Math.ceil(withinMs), maxBuffer: maxBytes * 2 + MORE_BYTES, late });
    return deserialize(found) as Awaited<ReturnType<ProcessSource>>;
  };
}

/** What a program does first. @returns its exit code; undefined: it is not one of these processes */
export async function runApart([flag, ...args]: readonly string[]): Promise<number | undefined> {
  if (flag !== SEAL && flag !== PROCESSES) return undefined;
  try {
    const result = flag === SEAL ? await seal(args) : await gather(args);
    await new Promise<void>((resolve, reject) => process.stdout.write(result, (error) => (error ? reject(error) : resolve())));
    return 0;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

/** Loaded by whoever seals alone: a daemon is small. */
async function seal(recipients: readonly string[]): Promise<Buffer> {
  const { sealTo } = await import("./seal.ts");
  return await sealTo(recipients)(await buffer(process.stdin));
}

async function gather([proc = "", containerId = "", maxBytes = ""]: readonly string[]): Promise<Buffer> {
  const { gatherProcesses } = await import("./processes.ts");
  return serialize(gatherProcesses(proc, containerId, Number(maxBytes)));
}

/** Ends within the time whatever becomes of the process: one that waits for a file system may not even be ended by the system. */
function run([file = "", ...args]: Program, input: Buffer | undefined, { timeoutMs, maxBuffer, late }: RunLimits): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = execFile(file, args, { maxBuffer, encoding: "buffer", killSignal: "SIGKILL" }, (error, output, problem) => {
      clearTimeout(timer);
      // Its arguments are no news to anybody.
      const ended = error?.signal ? `its process was ended by ${error.signal}` : `its process ended with ${error?.code ?? "no code"}`;
      if (error) reject(new Error(problem.toString("utf8").trim().slice(0, 300) || ended, { cause: error }));
      else resolve(output);
    });
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe?.destroy();
      child.unref();
      late?.(child);
      reject(new Error("it took too long"));
    }, timeoutMs);
    // It may end before it has read all: that is told above.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
  });
}
