/** Stands between an actuator and its engine, and kills the engine once at each place that it is given: before a call is heard, or after it was carried out and before its answer. */
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { Engine } from "../../deploy/testbed/engine.ts";

export class EngineGate {
  readonly socketPath: string;
  readonly #engine: Engine;
  readonly #places: ReadonlySet<string>;
  readonly #server: Server;
  /** Where it was killed, in order. */
  readonly kills: string[] = [];
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(engine: Engine, socketPath: string, places: readonly string[]) {
    this.#engine = engine;
    this.#places = new Set(places);
    this.socketPath = socketPath;
    this.#server = createServer((asked, answer) => void this.#take(asked, answer).catch(() => answer.destroy()));
  }

  /** @param places `before` or `after`, and what is asked, without ids */
  static async open(engine: Engine, socketPath: string, places: readonly string[]): Promise<EngineGate> {
    const gate = new EngineGate(engine, socketPath, places);
    await new Promise<void>((resolve) => gate.#server.listen(socketPath, resolve));
    return gate;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await this.#turn;
  }

  async #take(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of asked) chunks.push(chunk as Buffer);
    const step = stepOf(asked);
    if (await this.#killed(`before ${step}`)) return void answer.destroy();
    const told = await this.#forward(asked, Buffer.concat(chunks));
    if (await this.#killed(`after ${step}`)) return void answer.destroy();
    answer.writeHead(told.statusCode ?? 502, told.headers);
    told.pipe(answer);
  }

  #forward({ method, url, headers }: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const call = request({ socketPath: this.#engine.socketPath, method, path: url, headers }, resolve);
      call.on("error", reject);
      call.end(body);
    });
  }

  async #killed(place: string): Promise<boolean> {
    if (!this.#places.has(place) || this.kills.includes(place)) return false;
    this.kills.push(place);
    await this.#engine.kill();
    this.#turn = this.#engine.start();
    await this.#turn;
    return true;
  }
}

/** `rename` of two containers is two steps. */
function stepOf({ method, url = "" }: IncomingMessage): string | undefined {
  if (method !== "POST") return undefined;
  const [path = "", query = ""] = url.replace(/^\/v[0-9.]+/, "").split("?");
  const [kind, id, verb = id] = path.split("/").filter(Boolean);
  const aside = query.includes("hullmark-A-") ? " aside" : "";
  return kind === "networks" ? `${verb} ${id}` : `${verb}${verb === "rename" ? aside : ""}`;
}
