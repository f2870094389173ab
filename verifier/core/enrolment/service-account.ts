/** Service-account tokens: bounded before the cluster is asked, and held to one account, one audience and one node when it has answered. */
import { type ReviewedToken, TokenReviewError, type TokenReviewer } from "../../ports/token-reviewer.ts";
import type { ServiceAccountCandidate } from "./candidate.ts";
import { isNodeName } from "./decide.ts";
import { type Refused, refused } from "./refusals.ts";
import type { ServiceAccountRule } from "./types.ts";

const MAX_TOKEN_CHARACTERS = 16_384;
/** Strangers make the verifier ask the API server: so many questions at a time. */
const MAX_REVIEWS = 16;
/** JWS compact serialisation (RFC 7515, section 7.1). */
const JWT_PATTERN = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

export class ServiceAccountTokens {
  readonly #accepted: { readonly rule: ServiceAccountRule; readonly reviewer: TokenReviewer } | undefined;
  #reviews = 0;

  constructor(accepted: { readonly rule: ServiceAccountRule; readonly reviewer: TokenReviewer } | undefined) {
    this.#accepted = accepted;
  }

  /** @returns the node that the token is bound to, or why not; nothing of the token itself */
  async review(token: string, nowMs: number): Promise<ServiceAccountCandidate | Refused> {
    if (!this.#accepted) return refused("account-not-accepted", "nodes may not join by service-account token");
    if (token.length > MAX_TOKEN_CHARACTERS || !JWT_PATTERN.test(token)) return refused("account-malformed", "not a service-account token");
    if (this.#reviews >= MAX_REVIEWS) return refused("reviews-busy", "too many tokens are under review");
    const { rule, reviewer } = this.#accepted;
    this.#reviews++;
    try {
      const reviewed = await reviewer.review(token, rule.audience);
      return reviewed
        ? judge(token, reviewed, rule, nowMs)
        : refused("account-not-vouched", "the API server does not vouch for the token: expired, for another audience, or its pod is gone");
    } catch (error) {
      if (!(error instanceof TokenReviewError)) throw error;
      return refused("account-not-reviewed", `the token could not be reviewed: ${error.message}`);
    } finally {
      this.#reviews--;
    }
  }
}

function judge(token: string, { username, audiences, nodeName }: ReviewedToken, rule: ServiceAccountRule, nowMs: number): ServiceAccountCandidate | Refused {
  const wanted = `system:serviceaccount:${rule.namespace}:${rule.serviceAccount}`;
  if (username !== wanted) return refused("account-of-another", `the token is of ${JSON.stringify(username.slice(0, 300))}, not of ${wanted}`);
  // The answer says only which of the audiences asked for are in the token; that it is for no other stands in the token, which is authentic.
  const claims = claimsOf(token);
  const own = claims?.aud;
  if (!audiences.includes(rule.audience) || !Array.isArray(own) || own.length !== 1 || own[0] !== rule.audience)
    return refused("account-audience", `the token is not for the audience ${rule.audience} alone`);
  if (typeof claims?.exp !== "number" || claims.exp * 1000 <= nowMs) return refused("account-ended", "the token does not end, or has ended");
  if (nodeName === undefined) return refused("account-unbound", "the token is bound to no pod on a node");
  if (!isNodeName(nodeName)) return refused("account-node-name", "the token's node has a name that no node may have");
  return { kind: "service-account", nodeName };
}

function claimsOf(token: string): { readonly aud?: unknown; readonly exp?: unknown } | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
    return typeof claims === "object" && claims !== null ? claims : undefined;
  } catch {
    return undefined; // refused by the caller: it has no audience
  }
}
