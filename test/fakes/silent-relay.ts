/** Passes TCP connections on until it is told to fall silent, as an address whose pod is gone: then nothing passes on any of them, and none is ended. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface SilentRelay extends AsyncDisposable {
  readonly port: number;
  /** Connections that were made so far. */
  readonly connections: number;
  /** Those that are there stay silent; so does each new one, until {@link speak}. */
  fallSilent(): void;
  speak(): void;
}

/** @param target `host:port` */
export async function startSilentRelay(target: string): Promise<SilentRelay> {
  const [host = "", port] = target.split(":");
  const sockets = new Set<Socket>();
  let [silent, connections] = [false, 0];
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    return socket.on("error", () => {}).on("close", () => sockets.delete(socket));
  };
  const server = createServer((near) => {
    connections++;
    keep(near);
    if (silent) return;
    const far = keep(connect(Number(port), host));
    near.pipe(far).pipe(near);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections;
    },
    fallSilent: () => {
      silent = true;
      for (const socket of sockets) socket.unpipe().pause();
    },
    speak: () => {
      silent = false;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
