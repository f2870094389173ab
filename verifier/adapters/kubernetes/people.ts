/** {@link TokenAuthenticator} by the API server's TokenReview: people and service accounts as the cluster knows them. */
import { decodeJwt } from "jose";
import { ISSUED_NAME_PATTERN } from "../../core/people/identities.ts";
import { type ProvenToken, type TokenAuthenticator, TokenError } from "../../ports/token-authenticator.ts";
import { TokenReviewError } from "../../ports/token-reviewer.ts";
import type { KubernetesTokenReviewer } from "./token-reviewer.ts";

export interface ReviewedPeopleOptions {
  readonly name: string;
  readonly audience: string;
  /** Of tokens that count, as they have it in `iss`; empty: any. */
  readonly issuers: readonly string[];
  /** Whether a token that is no JWT counts: it does not say how old it is. */
  readonly opaqueTokens: boolean;
  /** A JWT counts no longer, whatever it says itself. */
  readonly maxTokenHours: number;
  readonly nowMs: () => number;
  readonly reviewer: Pick<KubernetesTokenReviewer, "reviewPerson">;
}

/** What a JWT says of itself. */
interface Said {
  readonly issuer: string | undefined;
  /** Unix milliseconds. */
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

export class ReviewedPeople implements TokenAuthenticator {
  readonly source: string;
  readonly #options: ReviewedPeopleOptions;

  constructor(options: ReviewedPeopleOptions) {
    this.source = options.name;
    this.#options = options;
  }

  claims(token: string): boolean {
    const { issuers, opaqueTokens } = this.#options;
    const said = saidBy(token);
    return said ? issuers.length === 0 || (said.issuer !== undefined && issuers.includes(said.issuer)) : opaqueTokens && !isJwt(token);
  }

  async authenticate(token: string): Promise<ProvenToken> {
    const { reviewer, audience, maxTokenHours, nowMs } = this.#options;
    const said = saidBy(token);
    const expiresAtMs = said && Math.min(said.expiresAtMs, said.issuedAtMs + maxTokenHours * 3_600_000);
    // The API server would say so of the one that is over, and is not asked.
    if (expiresAtMs !== undefined && nowMs() >= expiresAtMs) throw new TokenError("REFUSED", "the token has expired");
    try {
      const reviewed = await reviewer.reviewPerson(token, audience);
      // An API server that knows no audiences answers none: then the token is for anything.
      if (!reviewed?.audiences.includes(audience)) throw new TokenError("REFUSED", `the API server does not vouch for the token for the audience ${audience}`);
      if (!ISSUED_NAME_PATTERN.test(reviewed.username)) throw new TokenError("REFUSED", "the token is of a user whose name is none here");
      return { name: reviewed.username, groups: reviewed.groups, issuedAtMs: said?.issuedAtMs, expiresAtMs };
    } catch (cause) {
      if (cause instanceof TokenReviewError) throw new TokenError("UNAVAILABLE", cause.message, { cause });
      throw cause;
    }
  }
}

function isJwt(token: string): boolean {
  try {
    decodeJwt(token);
    return true;
  } catch {
    return false;
  }
}

/** Nothing of it is believed until the token is authentic. @returns undefined: it is no JWT that says when it was made and when it ends */
function saidBy(token: string): Said | undefined {
  try {
    const { iss, iat, exp } = decodeJwt(token);
    if (typeof iat !== "number" || typeof exp !== "number") return undefined;
    return { issuer: iss, issuedAtMs: iat * 1000, expiresAtMs: exp * 1000 };
  } catch {
    return undefined;
  }
}
