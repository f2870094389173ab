/** Released crane and oras, built from their Go modules by deploy/testbed/go-tools.sh: images copied, changed and attached to by somebody else's code. */
import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { STATE_ROOT } from "../../deploy/testbed/paths.ts";

const run = promisify(execFile);

/** Runs it with an own home, so that no login of this machine takes part. @returns standard output @throws with what it says */
export async function copyTool(name: "crane" | "oras", home: string, args: readonly string[]): Promise<string> {
  const path = join(STATE_ROOT, "tools", "bin", name);
  accessSync(path, constants.X_OK);
  const env = { PATH: process.env["PATH"] ?? "", HOME: home, DOCKER_CONFIG: home };
  const { stdout } = await run(path, [...args], { env, cwd: home, timeout: 60_000, maxBuffer: 16 * 1024 * 1024 });
  return stdout.trim();
}
