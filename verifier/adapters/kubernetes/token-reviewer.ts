/** {@link TokenReviewer} by the API server's TokenReview (authentication.k8s.io/v1). */

import type { ApiAnswer, ApiServer } from "@hullmark/daemon/api-server";
import * as z from "zod";
import { type ReviewedPerson, type ReviewedToken, TokenReviewError, type TokenReviewer } from "../../ports/token-reviewer.ts";

const Extra = z.record(z.string(), z.array(z.string()));
const Review = z.object({
  status: z.object({
    authenticated: z.boolean().optional(),
    audiences: z.array(z.string()).optional(),
    user: z.object({ username: z.string().optional(), groups: z.array(z.string()).optional(), extra: Extra.optional() }).optional(),
  }),
});
const Pod = z.object({ metadata: z.object({ uid: z.string() }), spec: z.object({ nodeName: z.string().optional() }) });

const REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews";
const NODE_NAME = "authentication.kubernetes.io/node-name";
const POD_NAME = "authentication.kubernetes.io/pod-name";
const POD_UID = "authentication.kubernetes.io/pod-uid";
const SERVICE_ACCOUNT = /^system:serviceaccount:([a-z0-9.-]+):[a-z0-9.-]+$/;

export class KubernetesTokenReviewer implements TokenReviewer {
  readonly #api: Pick<ApiServer, "get" | "post">;

  constructor(api: Pick<ApiServer, "get" | "post">) {
    this.#api = api;
  }

  async review(token: string, audience: string): Promise<ReviewedToken | undefined> {
    const reviewed = await this.#review(token, audience);
    if (!reviewed) return undefined;
    const { user, audiences = [] } = reviewed;
    const username = user?.username ?? "";
    return { username, audiences, nodeName: await this.#nodeName(username, user?.extra ?? {}) };
  }

  /** The same of a person: where it runs is nothing to them. @throws TokenReviewError */
  async reviewPerson(token: string, audience: string): Promise<ReviewedPerson | undefined> {
    const reviewed = await this.#review(token, audience);
    return reviewed && { username: reviewed.user?.username ?? "", audiences: reviewed.audiences ?? [], groups: reviewed.user?.groups ?? [] };
  }

  async #review(token: string, audience: string): Promise<z.infer<typeof Review>["status"] | undefined> {
    const review = { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", spec: { token, audiences: [audience] } };
    const answer = await this.#ask(() => this.#api.post(REVIEWS, review));
    if (answer.status !== 200 && answer.status !== 201) throw refusedBy(answer, "create tokenreviews");
    const parsed = Review.safeParse(answer.body);
    // The answer holds the token again: it goes into no message.
    if (!parsed.success) throw new TokenReviewError("the API server's answer is no TokenReview");
    return parsed.data.status.authenticated === true ? parsed.data.status : undefined;
  }

  /** Kubernetes 1.30 and newer say it in the token; before, it is the node of the pod that the token is bound to. */
  async #nodeName(username: string, extra: z.infer<typeof Extra>): Promise<string | undefined> {
    const stated = only(extra[NODE_NAME]);
    if (stated !== undefined) return stated;
    const [name, uid, namespace] = [only(extra[POD_NAME]), only(extra[POD_UID]), SERVICE_ACCOUNT.exec(username)?.[1]];
    if (name === undefined || uid === undefined || namespace === undefined) return undefined;
    const answer = await this.#ask(() => this.#api.get(`/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`));
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw refusedBy(answer, "get pods");
    const pod = Pod.safeParse(answer.body);
    if (!pod.success) throw new TokenReviewError("the API server's answer is no pod");
    return pod.data.metadata.uid === uid ? pod.data.spec.nodeName : undefined;
  }

  async #ask(call: () => Promise<ApiAnswer>): Promise<ApiAnswer> {
    try {
      return await call();
    } catch (cause) {
      throw new TokenReviewError(`the API server does not answer: ${cause instanceof Error ? cause.message : "unknown"}`, { cause });
    }
  }
}

function only(values: readonly string[] | undefined): string | undefined {
  return values?.length === 1 ? values[0] : undefined;
}

function refusedBy({ status }: ApiAnswer, right: string): TokenReviewError {
  const hint = status === 401 || status === 403 ? ` (the verifier's service account needs the right to ${right})` : "";
  return new TokenReviewError(`the API server answers ${status}${hint}`);
}
