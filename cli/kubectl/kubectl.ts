/** The user's own kubectl: contexts, credentials, proxies and their plugins work for Hullmark because it is kubectl that asks. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable } from "node:stream";

export interface KubectlFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
}

/**
 * MISSING: there is no kubectl. USAGE: a context or file that is not there. FORBIDDEN: the user has not the right. NOT_FOUND: no such object.
 * UNREACHABLE: the API server or the pod does not answer, and whatever else kubectl ends with.
 */
export type KubectlErrorCode = "MISSING" | "USAGE" | "FORBIDDEN" | "NOT_FOUND" | "UNREACHABLE";

/** The message is kubectl's own, as printable text. */
export class KubectlError extends Error {
  override name = "KubectlError";
  readonly code: KubectlErrorCode;

  constructor(code: KubectlErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

export interface Answer {
  readonly stdout: string;
  readonly stderr: string;
  /** 0, or what kubectl ended with; -1 where a signal ended it. */
  readonly status: number;
}

const MAX_OUTPUT_BYTES = 16 << 20;

export type KubectlProcess = ChildProcessByStdio<null, Readable, Readable>;

export class Kubectl {
  readonly #flags: readonly string[];

  constructor({ kubeconfig, context }: KubectlFlags) {
    this.#flags = [...(kubeconfig === undefined ? [] : [`--kubeconfig=${kubeconfig}`]), ...(context === undefined ? [] : [`--context=${context}`])];
  }

  /** A process of it that the caller ends. Its `error` event must be listened to: it tells that there is no kubectl. */
  start(...args: string[]): KubectlProcess {
    return spawn("kubectl", [...this.#flags, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  }

  /** Runs it to its end. @throws KubectlError MISSING; the signal's reason */
  ask(args: readonly string[], { input = "", signal }: { readonly input?: string; readonly signal?: AbortSignal } = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const child = spawn("kubectl", [...this.#flags, ...args], { stdio: ["pipe", "pipe", "pipe"], ...(signal && { signal }) });
      const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
      let size = 0;
      const take = (into: Buffer[]) => (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_OUTPUT_BYTES) child.kill("SIGKILL");
        else into.push(chunk);
      };
      child.stdout.on("data", take(stdout));
      child.stderr.on("data", take(stderr));
      // It may end before it has read everything; its exit code tells.
      child.stdin.on("error", () => {});
      child.on("error", (error: NodeJS.ErrnoException) => reject(error.code === "ENOENT" ? new KubectlError("MISSING", "kubectl is not in PATH") : error));
      child.on("close", (code) => resolve({ stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString(), status: code ?? -1 }));
      child.stdin.end(input);
    });
  }

  /** @returns its standard output @throws KubectlError */
  async run(args: readonly string[], options: { readonly input?: string; readonly signal?: AbortSignal } = {}): Promise<string> {
    const { stdout, stderr, status } = await this.ask(args, options);
    if (status !== 0) throw kubectlError(stderr);
    return stdout;
  }
}

/** What kubectl said when it ended badly. */
export function kubectlError(stderr: string): KubectlError {
  const message = stderr.trim().split("\n").slice(-3).join(" ").slice(0, 1000) || "kubectl failed and says nothing";
  if (/\(Forbidden\)|\(Unauthorized\)|You must be logged in/.test(stderr)) return new KubectlError("FORBIDDEN", message);
  if (/\(NotFound\)/.test(stderr)) return new KubectlError("NOT_FOUND", message);
  if (/context .* does not exist|no configuration has been provided|no such file or directory|error loading config/i.test(stderr))
    return new KubectlError("USAGE", message);
  return new KubectlError("UNREACHABLE", message);
}
