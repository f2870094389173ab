/**
 * HTTP to one registry and to where it sends us: bounded in time, redirects and retries. Nothing here knows of OCI.
 * Node's own client and not fetch: a private CA per client, no body decoding behind our back, and the socket is ours to close.
 */
import * as http from "node:http";
import * as https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { getCACertificates } from "node:tls";
import { RegistryError } from "../../ports/registry.ts";
import type { Reach } from "./reach.ts";

export interface TransportOptions {
  /** PEM certificates that are trusted besides the system's; undefined: the system's only. */
  readonly ca?: string | undefined;
  /** `host[:port]` for which plain http is right although it is not loopback. */
  readonly plainHttpHosts?: readonly string[] | undefined;
  /** Loopback `host[:port]` that speak TLS: without this, loopback is plain http. */
  readonly tlsHosts?: readonly string[] | undefined;
  /** Until the response's headers are there. Default 15,000. */
  readonly headersTimeoutMs?: number | undefined;
  /** Between two chunks of a body. Default 30,000. */
  readonly idleTimeoutMs?: number | undefined;
  /** Tries of a GET or HEAD that met 429, 500, 502, 503, 504 or a broken connection. Default 3. */
  readonly maxAttempts?: number | undefined;
  /** A Retry-After beyond this is not waited for but reported. Default 10,000. */
  readonly maxRetryDelayMs?: number | undefined;
  /** Bounds whom is asked; undefined: anybody. Names that a proxy resolves are the proxy's affair. */
  readonly reach?: Reach | undefined;
  /** Variables like HTTPS_PROXY, as in `process.env`; undefined: no proxy. */
  readonly proxyEnv?: Readonly<Record<string, string | undefined>> | undefined;
}

export interface HttpRequest {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH";
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Must be read to its end or destroyed. */
  readonly body: http.IncomingMessage;
  /** After redirects. */
  readonly url: URL;
}

const MAX_REDIRECTS = 5;
const MAX_HEADER_BYTES = 32 * 1024;
/** 500 too: a registry over plain files answers so while somebody rewrites the tag that is read (seen with distribution 2.8). */
const RETRY_STATUS: ReadonlySet<number> = new Set([429, 500, 502, 503, 504]);

/** Whether a `host[:port]` names this machine by its loopback interface. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  return name === "localhost" || name === "::1" || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(name);
}

/** Milliseconds of a Retry-After header (RFC 9110, 10.2.3): seconds or a date; undefined where there is none that can be read. */
export function retryAfterMs(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs);
}

export class HttpTransport {
  readonly #options: TransportOptions;
  readonly #direct: Agents;
  readonly #proxied: Agents;

  constructor(options: TransportOptions = {}) {
    this.#options = options;
    this.#direct = makeAgents(options, {});
    this.#proxied = namesProxy(options.proxyEnv) ? makeAgents(options, { proxyEnv: { ...options.proxyEnv } }) : this.#direct;
  }

  /** Closes idle and busy connections. */
  close(): void {
    for (const { plain, tls } of [this.#direct, this.#proxied]) {
      plain.destroy();
      tls.destroy();
    }
  }

  /** How to speak to a host. */
  scheme(host: string): "http" | "https" {
    if (this.#options.plainHttpHosts?.includes(host)) return "http";
    return isLoopback(host) && !this.#options.tlsHosts?.includes(host) ? "http" : "https";
  }

  /** Whether credentials or content may go to this URL: TLS, loopback, or a host configured for plain http. */
  permits(url: URL): boolean {
    return url.protocol === "https:" || (url.protocol === "http:" && this.scheme(url.host) === "http");
  }

  /**
   * One exchange, with redirects followed and transient failures retried for GET and HEAD. Any status is returned, 429 and 5xx too once tries are used up.
   * @throws RegistryError UNAVAILABLE, TIMEOUT, INSECURE, MALFORMED; the signal's reason when aborted
   */
  async request(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    const attempts = request.method === "GET" || request.method === "HEAD" ? (this.#options.maxAttempts ?? 3) : 1;
    for (let attempt = 1; ; attempt++) {
      let waitMs = 200 * 2 ** attempt * (0.5 + Math.random());
      try {
        const response = await this.#follow(request, signal);
        if (attempt >= attempts || !RETRY_STATUS.has(response.status)) return response;
        const asked = retryAfterMs(response.headers["retry-after"], Date.now());
        if (asked !== undefined && asked > (this.#options.maxRetryDelayMs ?? 10_000)) return response;
        waitMs = Math.max(waitMs, asked ?? 0);
        response.body.destroy();
      } catch (error) {
        if (attempt >= attempts || !(error instanceof RegistryError) || error.code !== "UNAVAILABLE") throw error;
      }
      await pause(waitMs, signal);
    }
  }

  async #follow(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    let { url, headers } = request;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      if (!this.permits(url)) throw new RegistryError("INSECURE", `plain http to ${url.host} is not configured`);
      const response = await this.#once({ ...request, url, headers }, signal);
      const location = response.headers.location;
      const redirected = (request.method === "GET" || request.method === "HEAD") && [301, 302, 303, 307, 308].includes(response.status);
      if (!redirected || location === undefined) return response;
      response.body.destroy();
      const next = parseUrl(location, url);
      // Storage back ends get the bytes' address, never the registry's credentials.
      if (next.origin !== url.origin) headers = Object.fromEntries(Object.entries(headers).filter(([name]) => name.toLowerCase() !== "authorization"));
      url = next;
    }
    throw new RegistryError("MALFORMED", `${request.url.host}: more than ${MAX_REDIRECTS} redirects`);
  }

  #once(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    const { url, method, headers, body } = request;
    signal.throwIfAborted();
    const { reach } = this.#options;
    reach?.check(url.host);
    const lookup = this.#direct === this.#proxied || isLoopback(url.host) ? reach?.lookup(url.host) : undefined;
    return new Promise((resolve, reject) => {
      const length = body ? { "content-length": String(body.length) } : {};
      const options = { method, headers: { ...headers, ...length }, signal, maxHeaderSize: MAX_HEADER_BYTES, ...(lookup && { lookup }) };
      // This machine's own loopback is no proxy's business.
      const { tls, plain } = isLoopback(url.host) ? this.#direct : this.#proxied;
      const outgoing = url.protocol === "https:" ? https.request(url, { ...options, agent: tls }) : http.request(url, { ...options, agent: plain });
      const limitMs = this.#options.headersTimeoutMs ?? 15_000;
      const timer = setTimeout(() => outgoing.destroy(new RegistryError("TIMEOUT", `${url.host}: no answer within ${limitMs} ms`)), limitMs);
      outgoing.on("error", (error) => {
        clearTimeout(timer);
        reject(asRegistryError(error, url.host, signal));
      });
      outgoing.on("response", (incoming) => {
        clearTimeout(timer);
        const idleMs = this.#options.idleTimeoutMs ?? 30_000;
        incoming.setTimeout(idleMs, () => incoming.destroy(new RegistryError("TIMEOUT", `${url.host}: nothing for ${idleMs} ms in the middle of a body`)));
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: incoming, url });
      });
      outgoing.end(body);
    });
  }
}

interface Agents {
  readonly plain: http.Agent;
  readonly tls: https.Agent;
}

function namesProxy(environment: TransportOptions["proxyEnv"]): boolean {
  return Object.entries(environment ?? {}).some(([name, value]) => /^https?_proxy$/i.test(name) && Boolean(value));
}

/** Node adds nothing to an explicit `ca`: the system's roots have to be named with it. */
function makeAgents({ ca }: TransportOptions, proxy: http.AgentOptions): Agents {
  const common = { keepAlive: true, maxSockets: 8, ...proxy };
  const trust = ca === undefined ? {} : { ca: [...getCACertificates("default"), ca] };
  return { plain: new http.Agent(common), tls: new https.Agent({ ...common, minVersion: "TLSv1.2", ...trust }) };
}

/** Waits; rejects with the signal's own reason when aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}

/** Resolves a server-given address. @throws RegistryError MALFORMED */
export function parseUrl(location: string, base: URL): URL {
  if (location.length <= 8192 && URL.canParse(location, base.href)) return new URL(location, base);
  throw new RegistryError("MALFORMED", `${base.host}: an address that is none`);
}

/** Maps whatever a socket throws. An abort stays the caller's own reason. */
export function asRegistryError(error: unknown, host: string, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof RegistryError) return error;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return new RegistryError("UNAVAILABLE", `${host} could not be reached${code ? ` (${code})` : ""}`, { cause: error });
}

/** Reads a whole body. @throws RegistryError TOO_LARGE beyond `maxBytes` (the rest is not read), or as {@link asRegistryError} */
export async function readBody(response: HttpResponse, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  try {
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      total += chunk.length;
      if (total > maxBytes) throw new RegistryError("TOO_LARGE", `${response.url.host} sent more than ${maxBytes} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw asRegistryError(error, response.url.host, signal);
  }
  return Buffer.concat(chunks, total);
}
