/**
 * A listener that strangers reach: how many connections there are, in all and from one address. At a bound the oldest that nobody has proved themselves by gives way, so that
 * whoever holds many keeps out those who hold many, and nobody who was let in. How fast they come is not bounded.
 */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { networkOf } from "../../core/enrolment/rate.ts";

export interface ConnectionLimits {
  readonly all: number;
  /** Of IPv6 a /64. */
  readonly ofAddress: number;
  /** Whether who was let in counts among them as well; else how many each of those may have, of which the oldest gives way. */
  readonly proven: "counts" | { readonly ofEach: number };
}

interface Connection {
  readonly peer: string;
  readonly socket: Socket;
  readonly network: string;
  proven: boolean;
}

/** Those of one address, the oldest first. */
interface Network {
  readonly connections: Set<Connection>;
  unproven: number;
}

export class BoundedListener {
  readonly #limits: ConnectionLimits;
  readonly #server: Server;
  /** By the peer's address and port. */
  readonly #open = new Map<string, Connection>();
  readonly #networks = new Map<string, Network>();
  /** Of those who were let in and count for themselves alone, the oldest first. */
  readonly #each = new Map<string, Set<Socket>>();
  readonly #onDropped: () => void;

  /** @param take a connection that may go on @param onDropped one more was closed at a bound */
  constructor(limits: ConnectionLimits, take: (socket: Socket) => void, onDropped: () => void) {
    this.#limits = limits;
    this.#onDropped = onDropped;
    this.#server = createServer({ noDelay: true }, (socket) => {
      if (this.#admit(socket)) take(socket);
      else socket.destroy();
    });
  }

  /** Those that count. */
  get size(): number {
    return this.#open.size;
  }

  /** @param port 0: any @returns the port @throws the system's error */
  async listen(host: string, port: number): Promise<number> {
    this.#server.listen({ host, port });
    await once(this.#server, "listening");
    return (this.#server.address() as { port: number }).port;
  }

  /** Somebody who comes by it is who they say. @param peer as the calls of the connection name it @param who that is */
  proven(peer: string, who: string): void {
    const connection = this.#open.get(peer);
    if (!connection || connection.proven) return;
    if (this.#limits.proven === "counts") {
      connection.proven = true;
      const network = this.#networks.get(connection.network);
      if (network) network.unproven--;
      return;
    }
    this.#forget(connection);
    this.#hold(connection.socket, who, this.#limits.proven.ofEach);
  }

  /** No new ones; those that are there go on. @returns when they have ended, also where it never listened */
  async close(): Promise<void> {
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Ends those that are there now and still are after so many ms; those that come meanwhile go on. */
  endInTime(graceMs: number): void {
    const sockets = this.#sockets();
    setTimeout(() => {
      for (const socket of sockets) socket.destroy();
    }, graceMs).unref();
  }

  /** Ends those of whom nobody proved themselves. */
  endStrangers(): void {
    for (const { proven, socket } of this.#open.values()) if (!proven) socket.destroy();
  }

  /** Also before they are anything that could be ended in good order, and where the peer does not close. */
  endAll(): void {
    for (const socket of this.#sockets()) socket.destroy();
  }

  #sockets(): readonly Socket[] {
    return [...[...this.#open.values()].map(({ socket }) => socket), ...[...this.#each.values()].flatMap((each) => [...each])];
  }

  #admit(socket: Socket): boolean {
    const { remoteAddress, remotePort } = socket;
    if (remoteAddress === undefined) return false; // gone already
    const peer = `${remoteAddress}:${remotePort}`;
    const connection = { peer, socket, network: networkOf(peer), proven: false };
    const network = this.#networks.get(connection.network) ?? { connections: new Set<Connection>(), unproven: 0 };
    this.#networks.set(connection.network, network);
    network.connections.add(connection);
    network.unproven++;
    this.#open.set(peer, connection);
    socket.once("close", () => this.#forget(connection));
    if (network.connections.size > this.#limits.ofAddress) this.#drop(network);
    else if (this.#open.size > this.#limits.all) this.#drop(this.#most());
    return !socket.destroyed;
  }

  #hold(socket: Socket, who: string, most: number): void {
    const sockets = this.#each.get(who) ?? new Set();
    this.#each.set(who, sockets.add(socket));
    socket.once("close", () => {
      sockets.delete(socket);
      if (sockets.size === 0 && this.#each.get(who) === sockets) this.#each.delete(who);
    });
    const [oldest] = sockets;
    if (sockets.size <= most || !oldest) return;
    oldest.destroy();
    this.#onDropped();
  }

  /** Idempotent. Another connection of that address and port may be there by now: it stays. */
  #forget(connection: Connection): void {
    const network = this.#networks.get(connection.network);
    if (!network?.connections.delete(connection)) return;
    if (!connection.proven) network.unproven--;
    if (network.connections.size === 0) this.#networks.delete(connection.network);
    if (this.#open.get(connection.peer) === connection) this.#open.delete(connection.peer);
  }

  /** @param among with the newest, which gives way where all others are proven */
  #drop({ connections }: Network): void {
    for (const connection of connections) {
      if (connection.proven) continue;
      connection.socket.destroy();
      this.#forget(connection);
      break;
    }
    this.#onDropped();
  }

  /** Those of the address that holds the most unproven: there is one, that of the newest. */
  #most(): Network {
    return [...this.#networks.values()].reduce((most, each) => (each.unproven > most.unproven ? each : most));
  }
}
