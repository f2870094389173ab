/** A CPU profile of another Node process between two moments, over its inspector: what it does before and after (enrolling, starting) stays out. */
import { writeFileSync } from "node:fs";

interface Reply {
  readonly id?: number;
  readonly result?: { readonly profile?: unknown };
}

export class Profiler {
  readonly #socket: WebSocket;
  #nextId = 1;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  /** @param port of a process that was started with `--inspect=127.0.0.1:PORT` */
  static async start(port: number): Promise<Profiler> {
    const targets = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as { webSocketDebuggerUrl: string }[];
    const socket = new WebSocket(targets[0]?.webSocketDebuggerUrl ?? "");
    await new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve, { once: true });
      socket.addEventListener("error", reject, { once: true });
    });
    const profiler = new Profiler(socket);
    await profiler.#call("Profiler.enable");
    await profiler.#call("Profiler.start");
    return profiler;
  }

  /** Writes what was gathered, for a browser's developer tools. */
  async stop(path: string): Promise<void> {
    const { result } = await this.#call("Profiler.stop");
    writeFileSync(path, JSON.stringify(result?.profile));
    this.#socket.close();
  }

  #call(method: string): Promise<Reply> {
    const id = this.#nextId++;
    return new Promise((resolve) => {
      const listen = ({ data }: MessageEvent): void => {
        const reply = JSON.parse(String(data)) as Reply;
        if (reply.id !== id) return;
        this.#socket.removeEventListener("message", listen);
        resolve(reply);
      };
      this.#socket.addEventListener("message", listen);
      this.#socket.send(JSON.stringify({ id, method }));
    });
  }
}
