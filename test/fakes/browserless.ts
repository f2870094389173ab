/** A browser's requests to the dashboard, without the browser: every header is the test's own. */
import { request } from "node:https";
import { create, type DescMethodUnary, fromBinary, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { RpcChannel } from "@hullmark/proto/rpc";
import { Admin } from "@hullmark/proto/v1/admin";
import type { TestVerifier } from "./verifier.ts";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

interface Sent {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
}

export class Browserless {
  readonly #verifier: TestVerifier;
  cookie = "";

  constructor(verifier: TestVerifier) {
    this.#verifier = verifier;
  }

  get origin(): string {
    return `https://localhost:${this.#verifier.running?.dashboardPort}`;
  }

  async send(method: string, path: string, { headers = {}, body }: Sent = {}): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const own = { ...(this.cookie && { cookie: this.cookie }), ...headers };
    const sending = request(`${this.origin}${path}`, { method, ca: this.#verifier.ca, headers: own, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }));
      response.on("error", reject);
    });
    sending.on("error", reject);
    sending.end(body);
    return await promise;
  }

  /** As the page does it. */
  async fromPage(method: string, path: string, body?: Uint8Array | string, type = "text/plain", by = "person"): Promise<Answer> {
    return await this.send(method, path, {
      headers: { origin: this.origin, "hullmark-by": by, ...(body !== undefined && { "content-type": type }) },
      ...(body !== undefined && { body }),
    });
  }

  /** With the rights of whoever asks for the code. */
  async signIn(channel: RpcChannel): Promise<Answer> {
    const { code } = await channel.client(Admin).openDashboard({});
    const answer = await this.fromPage("POST", "/api/session", code);
    const [cookie = ""] = answer.headers["set-cookie"] ?? [];
    this.cookie = String(cookie).split(";")[0] ?? "";
    return answer;
  }

  async call(method: DescMethodUnary, body: Uint8Array, by = "person"): Promise<Answer> {
    return await this.fromPage("POST", `/api/${method.parent.typeName}/${method.name}`, body, "application/proto", by);
  }

  async ask<M extends DescMethodUnary>(method: M, init: MessageInitShape<M["input"]>): Promise<MessageShape<M["output"]>> {
    const answer = await this.call(method, toBinary(method.input, create(method.input, init)));
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body.toString()}`);
    return fromBinary(method.output, answer.body) as MessageShape<M["output"]>;
  }
}

export const told = ({ body }: Answer): Record<string, unknown> => JSON.parse(body.toString()) as Record<string, unknown>;
