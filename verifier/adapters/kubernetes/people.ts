/** {@link TokenAuthenticator} by the API server's TokenReview: people and service accounts as the cluster knows them. */
import { decodeJwt } from "jose";
import { ISSUED_NAME_PATTERN } from "../../core/people/identities.ts";
import { type ProvenToken, type TokenAuthenticator, TokenError } from "../../ports/token-authenticator.ts";
import { TokenReviewError } from "../../ports/token-reviewer.ts";
import type { KubernetesTokenReviewer } from "./token-reviewer.ts";

export interface ReviewedPeopleOptions {
  readonly name: string;
  readonly audience: string;
  readonly reviewer: Pick<KubernetesTokenReviewer, "reviewPerson">;
}

export class ReviewedPeople implements TokenAuthenticator {
  readonly source: string;
  readonly #options: ReviewedPeopleOptions;

  constructor(options: ReviewedPeopleOptions) {
    this.source = options.name;
    this.#options = options;
  }

  /** Whatever is nobody else's: the API server's tokens need not be JWTs. */
  claims(): boolean {
    return true;
  }

  async authenticate(token: string): Promise<ProvenToken> {
    const { reviewer, audience } = this.#options;
    try {
      const reviewed = await reviewer.reviewPerson(token, audience);
      // An API server that knows no audiences answers none: then the token is for anything.
      if (!reviewed?.audiences.includes(audience)) throw new TokenError("REFUSED", `the API server does not vouch for the token for the audience ${audience}`);
      if (!ISSUED_NAME_PATTERN.test(reviewed.username)) throw new TokenError("REFUSED", "the token is of a user whose name is none here");
      return { name: reviewed.username, groups: reviewed.groups, expiresAtMs: endOf(token) };
    } catch (cause) {
      if (cause instanceof TokenReviewError) throw new TokenError("UNAVAILABLE", cause.message, { cause });
      throw cause;
    }
  }
}

/** Of a token that is authentic. */
function endOf(token: string): number | undefined {
  try {
    const { exp } = decodeJwt(token);
    return exp === undefined ? undefined : exp * 1000;
  } catch {
    return undefined; // no JWT: asked about again
  }
}
