/**
 * An API server of which a 403 is a refusal. One that has just started forbids everything, for as long as it has not read who may do what (seen for half a second): whoever believed that would
 * give up what it was told to do.
 */
import type { ApiAnswer, ApiServer } from "@hullmark/daemon/api-server";
import { statusOf } from "./api-answers.ts";

type Calls = Pick<ApiServer, "get" | "post" | "patch">;

const UNAVAILABLE = 503;

/** Needs the right to get `/readyz`, which Kubernetes gives to all who are authenticated: without it nothing that is forbidden is known to be, and 503 is answered. */
export class ReadyApiServer implements Calls {
  readonly #api: Calls;

  constructor(api: Calls) {
    this.#api = api;
  }

  get(path: string, accept?: string): Promise<ApiAnswer> {
    return this.#meant(() => this.#api.get(path, accept));
  }

  post(path: string, body: unknown): Promise<ApiAnswer> {
    return this.#meant(() => this.#api.post(path, body));
  }

  patch(path: string, body: unknown, contentType: string): Promise<ApiAnswer> {
    return this.#meant(() => this.#api.patch(path, body, contentType));
  }

  /** What was forbidden was not done: it can be asked again. */
  async #meant(call: () => Promise<ApiAnswer>): Promise<ApiAnswer> {
    const answer = await call();
    if (answer.status !== 403) return answer;
    const { status } = await this.#api.get("/readyz");
    if (status === 200) return await call();
    return { status: UNAVAILABLE, body: { message: `not ready (/readyz: ${status}), it forbids: ${statusOf(answer).message}` } };
  }
}
