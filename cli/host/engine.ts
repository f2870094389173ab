/** What the Docker Engine says of itself. Only read: nothing of it is changed, now or later. */
import { request } from "node:http";
import * as z from "zod";
import { HostError } from "./error.ts";

const TIMEOUT_MS = 10_000;
const MAX_ANSWER_BYTES = 4 << 20;

const InfoSchema = z.object({ Driver: z.string(), ServerVersion: z.string(), ContainersRunning: z.int() });

export interface EngineFacts {
  readonly storageDriver: string;
  readonly version: string;
  readonly running: number;
}

/** @throws HostError NO_ENGINE */
export async function engineFacts(socketPath: string): Promise<EngineFacts> {
  try {
    const { Driver, ServerVersion, ContainersRunning } = InfoSchema.parse(JSON.parse(await get(socketPath, "/info")));
    return { storageDriver: Driver, version: ServerVersion, running: ContainersRunning };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HostError("NO_ENGINE", `no Docker Engine answers at ${socketPath}: ${why} (is it running? --docker-socket names another)`, { cause });
  }
}

function get(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, timeout: TIMEOUT_MS }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => {
        text += part;
        if (text.length > MAX_ANSWER_BYTES) call.destroy(new Error("the answer is too long"));
      });
      response.on("error", reject);
      response.on("end", () => (response.statusCode === 200 ? resolve(text) : reject(new Error(`status ${response.statusCode}`))));
    });
    call.on("error", reject);
    call.on("timeout", () => call.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    call.end();
  });
}
