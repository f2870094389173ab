/** The command as kubectl's plugin, as somebody has it who linked it into a folder of their PATH. */
import { execFile } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { tool } from "../../../deploy/testbed/kubernetes/tools.ts";
import { REPOSITORY } from "../../../deploy/testbed/paths.ts";
import type { Ran } from "./release-bed.ts";

const execute = promisify(execFile);

/** PATH as of somebody who has the command, kubectl and helm. @param home where the links are made */
export function pluginEnvironment(home: string, kubeconfig: string): NodeJS.ProcessEnv {
  const folder = join(home, "plugin");
  mkdirSync(folder, { recursive: true });
  for (const name of ["hullmark", "kubectl-hullmark", "kubectl_complete-hullmark"]) {
    rmSync(join(folder, name), { force: true });
    symlinkSync(join(REPOSITORY, "dist/hullmark.js"), join(folder, name));
  }
  const path = [folder, dirname(tool("kubectl")), dirname(tool("helm")), dirname(process.execPath), process.env["PATH"] ?? ""].join(":");
  return { ...process.env, PATH: path, KUBECONFIG: kubeconfig };
}

/** `kubectl hullmark …`, to its end, whatever that is. */
export async function runPlugin(home: string, kubeconfig: string, args: readonly string[]): Promise<Ran> {
  return execute(tool("kubectl"), ["hullmark", ...args], { env: pluginEnvironment(home, kubeconfig), maxBuffer: 16 << 20 }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: Ran) => ({ code: error.code, stdout: error.stdout, stderr: error.stderr }),
  );
}
