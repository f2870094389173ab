/** People who come with a bearer token: bounded before anybody is asked, authenticated by whoever issued it, and given the role that configuration names. */
import { hash } from "node:crypto";
import { type ProvenToken, type TokenAuthenticator, TokenError } from "../../ports/token-authenticator.ts";
import { Turns } from "../enrolment/turns.ts";
import type { Grants } from "./grants.ts";
import type { Identities } from "./identities.ts";

const MAX_TOKEN_CHARACTERS = 16_384;
/** RFC 6750, section 2.1. */
const TOKEN_PATTERN = /^[A-Za-z0-9._~+/-]+=*$/;
/** Strangers make the verifier ask others. */
const ASKED = { all: 32, ofAddress: 8 };
/** An authentic token is not asked about again for so long: one that was taken back counts until then. */
const KNOWN_MS = 30_000;
const MAX_KNOWN = 4096;

export interface BearerServices {
  readonly authenticators: readonly TokenAuthenticator[];
  readonly identities: Identities;
  readonly nowMs: () => number;
}

export interface Bearer {
  /** Who it is: {@link Identities.subjectOf} of `credential`. */
  readonly name: string;
  /** `SOURCE:NAME`. */
  readonly credential: string;
  /** For show alone; undefined: nothing else. */
  readonly shownAs?: string | undefined;
  readonly grants: Grants;
  /** When it was made; undefined: it does not say. And when it counts no more, exclusive. Unix milliseconds. */
  readonly issuedAtMs?: number | undefined;
  readonly notAfterMs: number;
}

/** NO_ROLE: it is authentic, and configuration gives its holder nothing. */
export class NoRoleError extends Error {
  /** @param shownAs for whoever is to give them one */
  constructor(credential: string, shownAs: string | undefined) {
    super(`${credential}${shownAs === undefined ? "" : ` (${shownAs})`} has no role here`);
    this.name = "NoRoleError";
  }
}

/** Of a token that is authentic. @throws NoRoleError */
export function bearerOf(identities: Identities, source: string, { name, shownAs, groups, issuedAtMs }: ProvenToken, notAfterMs: number): Bearer {
  const credential = `${source}:${name}`;
  const grants = identities.grantsOf(source, name, groups);
  if (!grants) throw new NoRoleError(credential, shownAs);
  return { name: identities.subjectOf(credential), credential, shownAs, grants, issuedAtMs, notAfterMs };
}

interface Known {
  readonly source: string;
  readonly proven: ProvenToken;
  readonly askedAtMs: number;
}

export class Bearers {
  readonly #services: BearerServices;
  /** By SHA-256 of the token. */
  readonly #known = new Map<string, Known>();
  readonly #turns = new Turns(ASKED);

  constructor(services: BearerServices) {
    this.#services = services;
  }

  /** @param token a stranger's, not yet looked at @param peer address and port that it came from, as the transport tells them @throws TokenError; NoRoleError */
  async authenticate(token: string, peer: string): Promise<Bearer> {
    if (token.length > MAX_TOKEN_CHARACTERS || !TOKEN_PATTERN.test(token)) throw new TokenError("REFUSED", "not a bearer token");
    const { identities, nowMs } = this.#services;
    const { source, proven, askedAtMs } = this.#recent(token) ?? (await this.#ask(token, peer));
    const notAfterMs = proven.expiresAtMs ?? askedAtMs + KNOWN_MS;
    if (nowMs() >= notAfterMs) throw new TokenError("REFUSED", "the token has expired");
    return bearerOf(identities, source, proven, notAfterMs);
  }

  #recent(token: string): Known | undefined {
    const key = hash("sha256", token);
    const known = this.#known.get(key);
    const agoMs = this.#services.nowMs() - (known?.askedAtMs ?? 0);
    if (known && agoMs >= 0 && agoMs < KNOWN_MS) return known;
    this.#known.delete(key);
    return undefined;
  }

  async #ask(token: string, peer: string): Promise<Known> {
    const authenticator = this.#services.authenticators.find((each) => each.claims(token));
    if (!authenticator) throw new TokenError("REFUSED", "the token is of no issuer that is configured here");
    const over = this.#turns.take(peer);
    if (!over) throw new TokenError("BUSY", "too many tokens are looked at: try again");
    try {
      const askedAtMs = this.#services.nowMs();
      const known = { source: authenticator.source, proven: await authenticator.authenticate(token), askedAtMs };
      if (this.#known.size >= MAX_KNOWN) this.#known.clear();
      this.#known.set(hash("sha256", token), known);
      return known;
    } finally {
      over();
    }
  }
}
