/** An OpenID Connect issuer: its tokens (JWS), ID tokens or access tokens that are JWTs, held against its published keys. OpenID Connect Discovery 1.0, RFC 7519, RFC 9068. */
import { createRemoteJWKSet, customFetch, decodeJwt, errors, type JWTPayload, jwtVerify, type RemoteJWKSet } from "jose";
import * as z from "zod";
import { ISSUED_NAME_PATTERN } from "../../core/people/identities.ts";
import { type ProvenToken, type TokenAuthenticator, TokenError } from "../../ports/token-authenticator.ts";
import { boundedFetch } from "./fetch.ts";

/** Signatures by public keys alone: with a shared secret whoever verifies could sign. */
export const ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"] as const;

const TIMEOUT_MS = 5000;
/** A key that is not known is asked for at most so often: strangers name any. */
const COOLDOWN_MS = 30_000;
const KEYS_MS = 600_000;
/** Where its keys are, it is asked again. */
const DISCOVERED_MS = 3_600_000;
const MAX_GROUPS = 1000;
/** Of ID tokens, and of access tokens (RFC 9068). What an issuer signs besides for the same audience, such as a logout token, is nobody's. */
const TYPES: readonly unknown[] = [undefined, "jwt", "application/jwt", "at+jwt", "application/at+jwt"];

const Discovered = z.object({ issuer: z.string(), jwks_uri: z.url({ protocol: /^https$/ }) });

export interface OidcIssuerOptions {
  readonly name: string;
  /** As tokens have it in `iss`, exactly. */
  readonly issuer: string;
  /** A token is for one of these. */
  readonly audiences: readonly string[];
  readonly algorithms: readonly string[];
  /** What people are called besides their subject, for show. */
  readonly nameClaim: string;
  readonly groupsClaim: string;
  /** PEM, in place of the system's: read for each request. @throws the system's error */
  readonly ca: () => string | undefined;
  readonly skewSeconds: number;
  readonly maxTokenHours: number;
  readonly nowMs: () => number;
  /** Between two readings of its keys because of one that is not known; default: {@link COOLDOWN_MS}. */
  readonly cooldownMs?: number;
}

export class OidcIssuer implements TokenAuthenticator {
  readonly source: string;
  readonly #options: OidcIssuerOptions;
  #keys: Promise<RemoteJWKSet> | undefined;
  #discoveredAtMs = 0;

  constructor(options: OidcIssuerOptions) {
    this.source = options.name;
    this.#options = options;
  }

  claims(token: string): boolean {
    try {
      return decodeJwt(token).iss === this.#options.issuer;
    } catch {
      return false; // no JWT: somebody else's
    }
  }

  /** @param audiences other than its own */
  async authenticate(token: string, audiences = this.#options.audiences): Promise<ProvenToken> {
    const { issuer, algorithms, skewSeconds, maxTokenHours, nowMs } = this.#options;
    const keys = await this.#published();
    try {
      const { payload, protectedHeader } = await jwtVerify(token, keys, {
        ...{ issuer, audience: [...audiences], algorithms: [...algorithms], clockTolerance: skewSeconds, currentDate: new Date(nowMs()) },
        ...{ requiredClaims: ["exp", "iat", "sub"], maxTokenAge: maxTokenHours * 3600 },
      });
      if (!TYPES.includes(protectedHeader.typ?.toLowerCase()) || payload["events"] !== undefined)
        throw new TokenError("REFUSED", "the token is neither an ID token nor an access token");
      // RFC 7800: good in the hands of whoever has a key, which nobody proves here.
      if (payload["cnf"] !== undefined) throw new TokenError("REFUSED", "the token is bound to a key: want a bearer token");
      const madeS = payload.iat as number;
      const endS = Math.min(payload.exp as number, madeS + maxTokenHours * 3600);
      const times = { issuedAtMs: madeS * 1000, expiresAtMs: (endS + skewSeconds) * 1000 };
      return { name: subjectOf(payload), shownAs: this.#shownAs(payload), groups: this.#groupsOf(payload), ...times };
    } catch (error) {
      throw this.#said(error);
    }
  }

  /** Its keys: read at the first token, and again by rotation and age; where they are, each hour. @throws TokenError UNAVAILABLE; the next token asks again */
  async #published(): Promise<RemoteJWKSet> {
    const agoMs = this.#options.nowMs() - this.#discoveredAtMs;
    if (!this.#keys || agoMs < 0 || agoMs >= DISCOVERED_MS) {
      this.#keys = this.#discover();
      this.#discoveredAtMs = this.#options.nowMs();
    }
    const asked = this.#keys;
    try {
      return await asked;
    } catch (cause) {
      // Unless another has asked since.
      if (this.#keys === asked) this.#keys = undefined;
      throw new TokenError("UNAVAILABLE", `the issuer ${this.source} does not tell of its keys: ${cause instanceof Error ? cause.message : "unknown"}`, {
        cause,
      });
    }
  }

  async #discover(): Promise<RemoteJWKSet> {
    const { issuer, ca, cooldownMs = COOLDOWN_MS } = this.#options;
    const fetched = boundedFetch(ca);
    // OpenID Connect Discovery 1.0, section 4.1: after the issuer, whose last slash is left out.
    const answer = await fetched(`${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (answer.status !== 200) throw new Error(`HTTP ${answer.status}`);
    const found = Discovered.safeParse(await answer.json());
    if (!found.success) throw new Error("its configuration has no issuer and jwks_uri");
    if (found.data.issuer !== issuer) throw new Error("its configuration names another issuer");
    const times = { timeoutDuration: TIMEOUT_MS, cooldownDuration: cooldownMs, cacheMaxAge: KEYS_MS };
    return createRemoteJWKSet(new URL(found.data.jwks_uri), { ...times, [customFetch]: fetched });
  }

  /** Nobody is refused for it: it says nothing of who somebody is. */
  #shownAs(payload: JWTPayload): string | undefined {
    const { nameClaim } = this.#options;
    const name = payload[nameClaim];
    if (nameClaim === "sub" || typeof name !== "string" || !ISSUED_NAME_PATTERN.test(name)) return undefined;
    // An address that nobody proved is anybody's.
    return nameClaim === "email" && payload["email_verified"] !== true ? undefined : name;
  }

  #groupsOf(payload: JWTPayload): string[] {
    const groups = payload[this.#options.groupsClaim] ?? [];
    const listed = typeof groups === "string" ? [groups] : groups;
    if (!Array.isArray(listed) || listed.length > MAX_GROUPS || !listed.every((each) => typeof each === "string"))
      throw new TokenError("REFUSED", `the token's ${this.#options.groupsClaim} are no list of names`);
    return listed;
  }

  /** Of the token nothing is repeated but which check it failed. */
  #said(error: unknown): TokenError {
    if (error instanceof TokenError) return error;
    if (error instanceof errors.JWTExpired) return new TokenError("REFUSED", "the token has expired");
    if (error instanceof errors.JWTClaimValidationFailed) return new TokenError("REFUSED", `the token's ${error.claim} does not do`);
    if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
      return new TokenError("REFUSED", `the token is signed by no one key that ${this.source} publishes`);
    const unreachable =
      error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid || !(error instanceof errors.JOSEError) || error.code === "ERR_JOSE_GENERIC";
    if (unreachable) return new TokenError("UNAVAILABLE", `the keys of ${this.source} cannot be read`, { cause: error });
    return new TokenError("REFUSED", `the token does not hold: ${(error as { code: string }).code}`);
  }
}

/** Nobody else's at this issuer, ever (OpenID Connect Core 1.0, section 2). @throws TokenError */
function subjectOf({ sub }: JWTPayload): string {
  if (sub === undefined || !ISSUED_NAME_PATTERN.test(sub)) throw new TokenError("REFUSED", "the token's sub is no name: 1 to 255 printable ASCII characters");
  return sub;
}
