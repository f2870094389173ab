import { createServer } from "node:net";

/** A TCP port on an address of this host (default: loopback) that nobody listens on at this moment. */
export function freePort(on = "127.0.0.1"): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, on, () => {
      const address = server.address();
      server.close(() => (typeof address === "object" && address ? resolve(address.port) : reject(new Error("no port"))));
    });
  });
}

/** Whether a GET answers within 2 s, with a 2xx status or one that is as good. */
export async function answers(url: string, alsoGood?: number): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
  await response.body?.cancel();
  return response.ok || response.status === alsoGood;
}
