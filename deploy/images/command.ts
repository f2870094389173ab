import { execFile } from "node:child_process";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** Runs a program to its end, in the C locale. @returns its standard output. @throws the error of node:child_process, whose message holds standard error */
export async function run(file: string, args: readonly string[], cwd?: string): Promise<string> {
  const { stdout } = await execute(file, [...args], { cwd, maxBuffer: 64 << 20, env: { ...process.env, LC_ALL: "C" } });
  return stdout;
}
