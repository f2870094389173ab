/**
 * {@link NodeHook} as a program of the operator's: no shell, arguments that the configuration fixes, then verb, mark and the node's name; an environment of its own;
 * killed with whatever it started when its time is over. What it prints is shortened and never read.
 */
import { spawn } from "node:child_process";
import { statSync } from "node:fs";
import { NodeMark } from "@hullmark/proto/v1/response";
import type { NodeCall, NodeCallResult, NodeHook } from "../../ports/node-hook.ts";

export interface CommandHookOptions {
  /** Absolute path. */
  readonly command: string;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

/** What was asked for is so already, and not by Hullmark. */
const EXIT_THERE = 10;
/** For what was printed last to arrive. */
const DRAIN_MS = 1000;
const MAX_OUTPUT_BYTES = 4096;
const MAX_DETAIL_CHARS = 300;
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const WORDS: Readonly<Partial<Record<NodeMark, string>>> = { [NodeMark.LABEL]: "label", [NodeMark.TAINT]: "taint", [NodeMark.CORDON]: "cordon" };
const OTHERS_WRITE = 0o022;

export class CommandHook implements NodeHook {
  readonly #options: CommandHookOptions;

  /** @throws Error where the program is no file of root's or of this user's own, or others may write it; the system's error */
  constructor(options: CommandHookOptions) {
    const found = statSync(options.command);
    const { mode, uid } = found;
    if (!found.isFile()) throw new Error(`${options.command} is no file`);
    if ((uid !== 0 && uid !== process.getuid?.()) || (mode & OTHERS_WRITE) !== 0)
      throw new Error(`${options.command} can be written by others: it would act as this actuator`);
    this.#options = options;
  }

  async call(call: NodeCall): Promise<NodeCallResult> {
    try {
      return await this.#run(call);
    } catch (error) {
      return notStarted(error as Error);
    }
  }

  #run({ verb, mark, nodeId, name, actionId, reason }: NodeCall): Promise<NodeCallResult> {
    const { command, arguments: fixed, environment, timeoutMs } = this.#options;
    const word = WORDS[mark] ?? "";
    const facts = {
      HULLMARK_VERB: verb,
      HULLMARK_MARK: word,
      HULLMARK_NODE: name,
      HULLMARK_NODE_ID: nodeId,
      HULLMARK_ACTION: actionId,
      HULLMARK_REASON: reason,
    };
    return new Promise((resolve) => {
      const child = spawn(command, [...fixed, verb, word, name], {
        shell: false,
        detached: true,
        stdio: ["ignore", "pipe", "pipe"],
        env: { PATH, ...environment, ...facts },
      });
      child.once("error", (error) => resolve(notStarted(error)));
      // Nothing runs, and where files cannot be opened any more there are no pipes either.
      if (child.pid === undefined) return;
      const output: Buffer[] = [];
      let bytes = 0;
      const take = (chunk: Buffer): void => {
        if (bytes < MAX_OUTPUT_BYTES) output.push(chunk.subarray(0, MAX_OUTPUT_BYTES - bytes));
        bytes += chunk.length;
      };
      child.stdout.on("data", take);
      child.stderr.on("data", take);
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        endGroup(child.pid);
      }, timeoutMs);
      let drain: NodeJS.Timeout | undefined;
      const settle = (result: NodeCallResult): void => {
        clearTimeout(timer);
        clearTimeout(drain);
        resolve(result);
      };
      child.once("exit", () => {
        // What it left running has no time left either; what has left its group does not keep us waiting.
        endGroup(child.pid);
        drain = setTimeout(() => {
          child.stdout.destroy();
          child.stderr.destroy();
        }, DRAIN_MS);
      });
      child.once("close", (code, signal) => {
        if (code === 0) return settle({ outcome: "done" });
        if (code === EXIT_THERE) return settle({ outcome: "there" });
        const how = late ? `took longer than ${timeoutMs / 1000} s` : `ended with ${code ?? signal}`;
        const outcome = code === null ? "cut-off" : "failed";
        settle({ outcome, detail: `${verb} ${word}: the hook ${how}: ${printed(output)}`.slice(0, MAX_DETAIL_CHARS) });
      });
    });
  }
}

function notStarted({ message }: Error): NodeCallResult {
  return { outcome: "failed", detail: `the hook cannot be started: ${message}`.slice(0, MAX_DETAIL_CHARS) };
}

/** The program leads a group of its own. */
function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The group has ended.
  }
}

function printed(output: readonly Buffer[]): string {
  return Buffer.concat(output)
    .toString("latin1")
    .replace(/[^\x20-\x7e]+/g, " ")
    .trim();
}
