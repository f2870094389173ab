/** Asks this process's own listeners for a connection: accepted, it is let go at once. A process out of descriptors or stuck in its backlog fails here. */
import { once } from "node:events";
import { connect } from "node:net";
import { splitHostPort } from "@hullmark/daemon";

const TIMEOUT_MS = 5000;

/** @param listeners configured address → port that was bound @throws the system's error where one does not answer in 5 s */
export async function reachListeners(listeners: readonly (readonly [address: string, port: number])[]): Promise<void> {
  for (const [address, port] of listeners) {
    const [host] = splitHostPort(address);
    const socket = connect({ host: host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host, port });
    try {
      await once(socket, "connect", { signal: AbortSignal.timeout(TIMEOUT_MS) });
    } finally {
      socket.destroy();
    }
  }
}
