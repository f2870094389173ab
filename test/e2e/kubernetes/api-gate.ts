/** Stands between an actuator and the API server, and keeps back answers: the write was carried out, and whoever asked for it never hears. */
import { mkdirSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, request, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { X509Ca } from "@hullmark/verifier/adapters/x509-ca/index";
import { certified } from "../lone-process.ts";
import type { ApiServerAccess } from "./follower.ts";

const CERTIFICATE_MS = 14_400_000;
const VERBS: Readonly<Record<string, string>> = { POST: "create", PATCH: "patch", PUT: "update", DELETE: "delete" };

interface Told {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

export interface ApiGateOptions {
  /** To the API server itself. */
  readonly access: ApiServerAccess;
  /** Where its files go; is made. */
  readonly home: string;
  readonly ca: Buffer;
  /** Of which writes the answers are kept back, one each: `create pods/eviction`. */
  readonly losing: readonly string[];
  /** Before whoever asked is cut off, and while nothing else passes. Default: at once. */
  readonly meanwhile?: () => Promise<unknown>;
}

export class ApiGate {
  /** For whoever is to come by here. */
  readonly access: ApiServerAccess;
  /** Writes that the API server has carried out, in order, and those of them whose answer was kept back. */
  readonly applied: string[] = [];
  readonly lost: string[] = [];
  readonly #options: ApiGateOptions;
  readonly #server: Server;
  readonly #losing: string[];
  #still: Promise<unknown> = Promise.resolve();

  private constructor(options: ApiGateOptions, server: Server) {
    this.#options = options;
    this.#losing = [...options.losing];
    this.#server = server.on("request", (asked, answer) => void this.#take(asked, answer).catch(() => answer.destroy()));
    const { port } = server.address() as AddressInfo;
    this.access = { ...options.access, apiServer: `https://127.0.0.1:${port}`, caFile: join(options.home, "gate-ca.crt") };
  }

  static async open(options: ApiGateOptions): Promise<ApiGate> {
    const { home } = options;
    mkdirSync(home, { recursive: true });
    const ca = await X509Ca.open({ stateDir: join(home, "gate-ca"), region: "gate", clock: { nowMs: () => Date.now() } });
    const { key, pem } = await certified((spki) => ca.issueServer(["127.0.0.1"], spki, CERTIFICATE_MS));
    writeFileSync(join(home, "gate-ca.crt"), ca.rootPem);
    const server = createServer({ key, cert: pem });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new ApiGate(options, server);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #take(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const body = await buffer(asked);
    await this.#still;
    const { status, type, body: told } = await this.#forward(asked, body);
    const write = writeOf(asked);
    if (write !== undefined && status < 300) {
      this.applied.push(write);
      const place = this.#losing.indexOf(write);
      if (place >= 0) return await this.#lose(place, answer);
    }
    answer.writeHead(status, { "content-type": type }).end(told);
  }

  async #lose(place: number, answer: ServerResponse): Promise<void> {
    this.lost.push(...this.#losing.splice(place, 1));
    this.#still = this.#options.meanwhile?.() ?? this.#still;
    await this.#still;
    answer.destroy();
  }

  /** The whole answer: what the API server does after it, an entry of its audit log, is done by then. */
  #forward({ method, url = "", headers }: IncomingMessage, body: Buffer): Promise<Told> {
    const { access, ca } = this.#options;
    return new Promise((resolve, reject) => {
      // A connection of its own: one of before the API server was killed leads nowhere.
      const call = request(new URL(url, access.apiServer), { method, headers, ca, agent: false }, (told) => {
        const { statusCode: status = 502, headers: has } = told;
        buffer(told).then((whole) => resolve({ status, type: has["content-type"] ?? "", body: whole }), reject);
      });
      call.on("error", reject);
      call.end(body);
    });
  }
}

/** Verb and resource, as rights have it. undefined: it changes nothing. */
function writeOf({ method = "", url = "" }: IncomingMessage): string | undefined {
  const verb = VERBS[method];
  const [path = ""] = url.split("?");
  const [resource, , part] = path
    .replace(/^\/(api\/[^/]+|apis\/[^/]+\/[^/]+)\//, "")
    .replace(/^namespaces\/[^/]+\//, "")
    .split("/");
  return verb && `${verb} ${resource}${part ? `/${part}` : ""}`;
}
