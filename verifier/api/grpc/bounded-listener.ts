/**
 * A listener that anybody reaches without a certificate: how many connections there are, in all and from one address. At a bound the oldest that nobody has proved themselves
 * by gives way, so that whoever holds many keeps out those who hold many, and nobody who was let in.
 */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { networkOf } from "../../core/enrolment/rate.ts";

export interface ConnectionLimits {
  readonly all: number;
  /** Of IPv6 a /64. */
  readonly ofAddress: number;
}

interface Connection {
  readonly socket: Socket;
  readonly network: string;
  proven: boolean;
}

export class BoundedListener {
  readonly #limits: ConnectionLimits;
  readonly #server: Server;
  /** By the peer's address and port, the oldest first. */
  readonly #open = new Map<string, Connection>();
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

  get size(): number {
    return this.#open.size;
  }

  /** @param port 0: any @returns the port @throws the system's error */
  async listen(host: string, port: number): Promise<number> {
    this.#server.listen({ host, port });
    await once(this.#server, "listening");
    return (this.#server.address() as { port: number }).port;
  }

  /** Somebody who comes by it is who they say. @param peer as the calls of the connection name it */
  proven(peer: string): void {
    const connection = this.#open.get(peer);
    if (connection) connection.proven = true;
  }

  /** No new ones; those that are there go on. */
  close(): void {
    this.#server.close();
  }

  /** Ends those that are there, also before they are anything that could be ended in good order. */
  endAll(): void {
    for (const { socket } of this.#open.values()) socket.destroy();
  }

  #admit(socket: Socket): boolean {
    const { remoteAddress, remotePort } = socket;
    if (remoteAddress === undefined) return false; // gone already
    const peer = `${remoteAddress}:${remotePort}`;
    const network = networkOf(peer);
    socket.once("close", () => this.#open.delete(peer));
    this.#open.set(peer, { socket, network, proven: false });
    const those = [...this.#open.values()].filter((each) => each.network === network);
    if (those.length > this.#limits.ofAddress) this.#drop(those);
    else if (this.#open.size > this.#limits.all) this.#drop(this.#most());
    return !socket.destroyed;
  }

  /** @param among with the newest, which gives way where all others are proven */
  #drop(among: readonly Connection[]): void {
    const oldest = among.find(({ proven }) => !proven);
    oldest?.socket.destroy();
    for (const [peer, each] of this.#open) if (each === oldest) this.#open.delete(peer);
    this.#onDropped();
  }

  /** Those of the address that holds the most unproven. */
  #most(): readonly Connection[] {
    const unproven = Map.groupBy(
      [...this.#open.values()].filter(({ proven }) => !proven),
      ({ network }) => network,
    );
    return [...unproven.values()].reduce<readonly Connection[]>((most, each) => (each.length > most.length ? each : most), []);
  }
}
