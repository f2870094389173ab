/** The few calls to a Kubernetes API server that verifier and actuator make: JSON over TLS, by the pod's own service account. */
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";

const TIMEOUT_MS = 10_000;
/** What the API server ends after 290 s is given up a little later. */
const WATCH_MS = 320_000;
/** A policy may have 1 MiB, and is escaped. */
const MAX_ANSWER_BYTES = 4 << 20;

export interface ApiServerOptions {
  /** `https://host:port`. */
  readonly url: string;
  /** PEM of the API server's CA; no other CA counts. */
  readonly caFile: string;
  /** The process's own token. Read at each call, since the kubelet renews it. */
  readonly tokenFile: string;
}

export interface ApiAnswer {
  /** HTTP status. */
  readonly status: number;
  /** The parsed JSON; undefined where the answer is none. */
  readonly body: unknown;
}

/** Where the pod's environment says that the API server is. @returns undefined outside a pod */
export function apiServerOfPod(environment: Readonly<Record<string, string | undefined>>): string | undefined {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment;
  return host && port ? `https://${host.includes(":") ? `[${host}]` : host}:${port}` : undefined;
}

/** A watch that the API server does not begin. */
export class WatchRefused extends Error {
  override readonly name = "WatchRefused";
  /** HTTP status. */
  readonly status: number;

  constructor(status: number) {
    super(`the API server answers ${status} to a watch`);
    this.status = status;
  }
}

/** An answer larger than is taken: fewer objects at once make a smaller one. */
export class AnswerTooLarge extends Error {
  override readonly name = "AnswerTooLarge";

  constructor() {
    super(`an answer of more than ${MAX_ANSWER_BYTES} bytes`);
  }
}

/** How many objects a page of a list is asked for. */
export class PageSize {
  readonly #most: number;
  #now: number;

  constructor(most: number) {
    this.#most = most;
    this.#now = most;
  }

  /** Asks for a page: of what is too large at once for half as many, from then on. @throws AnswerTooLarge: one object alone is; whatever `get` throws */
  async ask<T>(get: (limit: number) => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await get(this.#now);
      } catch (error) {
        if (!(error instanceof AnswerTooLarge) || this.#now === 1) throw error;
        this.#now >>= 1;
      }
    }
  }

  /** Twice as many from now on. */
  grow(): void {
    this.#now = Math.min(this.#most, 2 * this.#now);
  }
}

export class ApiServer {
  readonly #options: ApiServerOptions;

  constructor(options: ApiServerOptions) {
    this.#options = options;
  }

  /** @param accept another form than the objects' own */
  get(path: string, accept?: string): Promise<ApiAnswer> {
    return this.#call("GET", path, undefined, undefined, accept);
  }

  post(path: string, body: unknown): Promise<ApiAnswer> {
    return this.#call("POST", path, JSON.stringify(body));
  }

  delete(path: string): Promise<ApiAnswer> {
    return this.#call("DELETE", path);
  }

  patch(path: string, body: unknown, contentType: string): Promise<ApiAnswer> {
    return this.#call("PATCH", path, JSON.stringify(body), contentType);
  }

  /**
   * The events of a watch, until the API server ends it or `signal` aborts.
   * @param path with `watch=1` and a `timeoutSeconds` of at most 290 @param onBegun once the API server has agreed to it @throws WatchRefused; the system's error
   */
  async *watch(path: string, signal: AbortSignal, onBegun: () => void = () => {}): AsyncGenerator<unknown> {
    const { url, caFile } = this.#options;
    const ended = AbortSignal.any([signal, AbortSignal.timeout(WATCH_MS)]);
    const call = request(new URL(path, url), { headers: this.#headers(), ca: readFileSync(caFile), signal: ended });
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      call.on("response", resolve);
      call.on("error", reject);
      call.end();
    });
    if (response.statusCode !== 200) {
      call.destroy();
      throw new WatchRefused(response.statusCode ?? 0);
    }
    onBegun();
    let rest = "";
    for await (const chunk of response.setEncoding("utf8")) {
      const lines = `${rest}${chunk}`.split("\n");
      rest = lines.pop() ?? "";
      if (rest.length > MAX_ANSWER_BYTES) throw new Error(`an event of more than ${MAX_ANSWER_BYTES} bytes`);
      for (const line of lines) if (line !== "") yield JSON.parse(line);
    }
  }

  #headers(accept = "application/json"): Record<string, string> {
    return { accept, authorization: `Bearer ${readFileSync(this.#options.tokenFile, "utf8").trim()}` };
  }

  /** @throws AnswerTooLarge; the system's error, which names the address and never the request */
  #call(method: "GET" | "POST" | "PATCH" | "DELETE", path: string, body?: string, contentType = "application/json", accept?: string): Promise<ApiAnswer> {
    const { url, caFile } = this.#options;
    return new Promise((resolve, reject) => {
      const headers = {
        ...this.#headers(accept),
        ...(body !== undefined && { "content-type": contentType, "content-length": Buffer.byteLength(body) }),
      };
      const options = { method, headers, ca: readFileSync(caFile), signal: AbortSignal.timeout(TIMEOUT_MS) };
      const call = request(new URL(path, url), options, (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > MAX_ANSWER_BYTES) call.destroy(new AnswerTooLarge());
          else chunks.push(chunk);
        });
        response.on("error", reject);
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body: parsed(Buffer.concat(chunks)) }));
      });
      call.on("error", reject);
      call.end(body);
    });
  }
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined; // the status tells
  }
}
