/**
 * Sealing in a process of its own: what encrypts takes more memory than an agent otherwise has, and computes for seconds where much is captured. It gets the content on its standard input, and
 * ends with the agent.
 */
import { execFile } from "node:child_process";
import type { Seal } from "@hullmark/capture/capture";

/** The flag by which this program is started for it; recipients follow. */
export const SEALING_FLAG = "--seal";
const TIMEOUT_MS = 60_000;
/** What is sealed is larger by its header, and by 16 bytes for each 64 KiB. */
const MORE_BYTES = 1_048_576;

/** @param program how this program is started: file and arguments @param recipients age recipients, 1 at least */
export function sealApart([file = "", ...args]: readonly string[], recipients: readonly string[]): Seal {
  return (plain) =>
    new Promise((resolve, reject) => {
      const options = { encoding: "buffer", timeout: TIMEOUT_MS, killSignal: "SIGKILL", maxBuffer: plain.length * 2 + MORE_BYTES } as const;
      const child = execFile(file, [...args, SEALING_FLAG, ...recipients], options, (error, sealed, problem) => {
        if (error) reject(new Error(`it could not be sealed: ${problem.toString("utf8").trim().slice(0, 300) || error.message}`, { cause: error }));
        else resolve(sealed);
      });
      // It may end before it has read all: that is told above.
      child.stdin?.on("error", () => undefined);
      child.stdin?.end(plain);
    });
}
