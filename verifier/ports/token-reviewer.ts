/** The cluster's word on service-account tokens. */

/** What an authentic token says of its holder. */
export interface ReviewedToken {
  /** For a service account `system:serviceaccount:NAMESPACE:NAME`. */
  readonly username: string;
  /** Of the audiences that were asked for, those that the token is for. */
  readonly audiences: readonly string[];
  /** The node that the token's pod runs on; undefined for a token that is bound to no pod. */
  readonly nodeName: string | undefined;
}

/** What an authentic token says of a person, or of a service account that asks as one. */
export interface ReviewedPerson extends Pick<ReviewedToken, "username" | "audiences"> {
  readonly groups: readonly string[];
}

/** UNAVAILABLE: the API server cannot be reached, refuses the verifier, or answers what cannot be read. Messages and causes hold no token. */
export class TokenReviewError extends Error {
  readonly code = "UNAVAILABLE";

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "TokenReviewError";
  }
}

export interface TokenReviewer {
  /**
   * Asks anew at every call: a token ends with its pod.
   * @param token a stranger's, bounded by the caller
   * @returns undefined where the token is not authentic, expired, of another audience, or its pod is gone
   * @throws TokenReviewError
   */
  review(token: string, audience: string): Promise<ReviewedToken | undefined>;
}
