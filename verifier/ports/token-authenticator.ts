/** Bearer tokens of people: whoever issued them says whose one is. */

/** What an authentic token says. Names are of the issuer, bounded and printable; they say nothing of what somebody may do here. */
export interface ProvenToken {
  /** The one that stays theirs, and becomes nobody else's: an issuer's subject. */
  readonly name: string;
  /** What people may call them, for show alone; undefined: nothing else. */
  readonly shownAs?: string | undefined;
  readonly groups: readonly string[];
  /** Unix milliseconds, exclusive; undefined: it does not say, and is asked about again. */
  readonly expiresAtMs: number | undefined;
  /** Unix milliseconds; undefined: it does not say. */
  readonly issuedAtMs?: number | undefined;
}

/**
 * REFUSED: it is not authentic, not for this verifier, or over. UNAVAILABLE: whoever issued it cannot be asked now. BUSY: too many are looked at at a time.
 * Messages and causes hold no token.
 */
export type TokenErrorCode = "REFUSED" | "UNAVAILABLE" | "BUSY";

export class TokenError extends Error {
  readonly code: TokenErrorCode;

  constructor(code: TokenErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "TokenError";
    this.code = code;
  }
}

export interface TokenAuthenticator {
  /** As configuration names it: what stands before the names of its people. */
  readonly source: string;
  /** Whether it is to be asked, by what the token says of itself: nothing of that is believed yet. @param token a stranger's, bounded */
  claims(token: string): boolean;
  /** @throws TokenError */
  authenticate(token: string): Promise<ProvenToken>;
}
