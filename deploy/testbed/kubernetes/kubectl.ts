import { spawn } from "node:child_process";
import { TestbedError } from "../error.ts";

/**
 * Runs kubectl to its end.
 * @param input goes to its standard input (`apply -f -`)
 * @returns its standard output, at most 64 MiB
 * @throws TestbedError `command_failed` with its standard error
 */
export function runKubectl(binary: string, kubeconfig: string, args: readonly string[], input = ""): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(binary, args, { env: { ...process.env, KUBECONFIG: kubeconfig }, stdio: ["pipe", "pipe", "pipe"] });
    const output: Buffer[] = [];
    let size = 0;
    let problem = "";
    child.stdout.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > 64 << 20) child.kill("SIGKILL");
      else output.push(chunk);
    });
    child.stderr.on("data", (chunk: Buffer) => {
      problem = `${problem}${chunk.toString()}`.slice(-4_000);
    });
    // It may end before it has read everything; its exit code tells.
    child.stdin.on("error", () => {});
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) resolve(Buffer.concat(output).toString());
      else reject(new TestbedError("command_failed", `kubectl ${args.join(" ")}: ${problem.trim() || `exit ${code ?? signal}`}`));
    });
    child.stdin.end(input);
  });
}
