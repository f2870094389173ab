import { randomInt } from "node:crypto";
import { createServer } from "node:net";
import { TestbedError } from "./error.ts";

/** Below the ports that the kernel gives to connections of its choice (ip_local_port_range): those may be gone before a program that is starting takes them. */
const PORTS = [11_000, 30_000] as const;
const TRIES = 1000;

/** A TCP port on an address of this host (default: loopback) that nobody listens on at this moment. */
export async function freePort(on = "127.0.0.1"): Promise<number> {
  for (let tried = 0; tried < TRIES; tried++) {
    const port = randomInt(...PORTS);
    if (await canListen(port, on)) return port;
  }
  throw new TestbedError("start_failed", `no free port on ${on} between ${PORTS.join(" and ")}`);
}

/** @throws the system's error where the address is none of this host's */
function canListen(port: number, on: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => (error.code === "EADDRINUSE" ? resolve(false) : reject(error)));
    server.listen(port, on, () => server.close(() => resolve(true)));
  });
}

/** Whether a GET answers within 2 s, with a 2xx status or one that is as good. */
export async function answers(url: string, alsoGood?: number): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
  await response.body?.cancel();
  return response.ok || response.status === alsoGood;
}
