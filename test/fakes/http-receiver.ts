/** A real HTTP server that keeps what it is sent and answers as told. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export class HttpReceiver implements AsyncDisposable {
  readonly received: Received[] = [];
  /** How to answer; replaced by tests. */
  answer: (response: ServerResponse, request: Received) => void = (response) => response.writeHead(200).end();
  readonly #server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const got = { method: request.method ?? "", url: request.url ?? "", headers: request.headers, body: Buffer.concat(chunks).toString() };
      this.received.push(got);
      this.answer(response, got);
    });
  });

  /** @param host address to listen on; loopback is out of a pod's reach */
  async start(host = "127.0.0.1"): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, host, resolve));
    return this;
  }

  get url(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `http://${address}:${port}`;
  }

  /** The first request that satisfies the test; waits for it. @throws Error after `timeoutMs` */
  async waitFor<T>(pick: (request: Received) => T | undefined, timeoutMs = 20_000): Promise<T> {
    for (const until = Date.now() + timeoutMs; Date.now() < until; ) {
      for (const request of this.received) {
        const found = pick(request);
        if (found !== undefined) return found;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`nothing fitting within ${timeoutMs} ms; received: ${JSON.stringify(this.received.map(({ url, body }) => [url, body.slice(0, 500)]))}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

interface ToldAlert {
  readonly kind: string;
  readonly status: string;
  readonly severity: string;
  readonly summary: string;
  readonly description: string;
  readonly nextCommand: string;
  readonly path: string;
}

/** The alerts that a webhook route was told, in order; what came twice, since it was not answered in time, counts once. @param kind undefined: of every kind */
export function alertsOf({ received }: HttpReceiver, kind?: string): ToldAlert[] {
  const events = received.map(({ body }) => JSON.parse(body) as { id: string; data: { alerts: ToldAlert[] } });
  return [...new Map(events.toReversed().map((event) => [event.id, event])).values()]
    .toReversed()
    .flatMap(({ data }) => data.alerts.filter((each) => kind === undefined || each.kind === kind));
}
