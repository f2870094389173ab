/**
 * People in a browser. Whoever is known by a certificate asks for a code, which one browser may change, once and within a minute, for a session. A session is nothing but
 * what its person was known by: whether that still counts, and what it may do, is asked at every request, by the same code as without a browser.
 * Held in memory: a restart ends all. Codes and tokens are held as their digests alone.
 */
import { hash } from "node:crypto";

const CODE_MS = 60_000;
/** Of codes that wait and of sessions: at the bound the oldest gives way. */
const MAX_HELD = 1000;
const MAX_HELD_OF_NAME = 16;
const SECRET_BYTES = 32;
/** Base64url of {@link SECRET_BYTES}. */
const SECRET_PATTERN = /^[A-Za-z0-9_-]{43}$/;

export interface BrowserSessionsOptions {
  readonly nowMs: () => number;
  /** Fresh bytes of a cryptographic source. */
  readonly random: (bytes: number) => Buffer;
  /** A session that nobody has used for so long is over. */
  readonly idleMs: number;
  /** However much it is used. */
  readonly lifetimeMs: number;
}

/** @typeParam C what a person is known by */
export interface BrowserSession<C> {
  readonly name: string;
  readonly credentials: C;
  readonly endsAtMs: number;
  /** Aborted when it is over, in whatever way. */
  readonly ended: AbortSignal;
}

interface Held<C> {
  readonly name: string;
  readonly credentials: C;
  endsAtMs: number;
  usedAtMs: number;
  readonly abort: AbortController;
}

export class BrowserSessions<C> {
  readonly #options: BrowserSessionsOptions;
  /** By the hexadecimal SHA-256 of the secret, in the order in which they were made. */
  readonly #codes = new Map<string, Held<C>>();
  readonly #sessions = new Map<string, Held<C>>();
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(options: BrowserSessionsOptions) {
    this.#options = options;
  }

  /** @returns the code, and until when it may be used, exclusive */
  offer(name: string, credentials: C): { readonly code: string; readonly endsAtMs: number } {
    const endsAtMs = this.#nowMs() + CODE_MS;
    return { code: this.#hold(this.#codes, name, credentials, endsAtMs), endsAtMs };
  }

  /** Uses the code up. @param code from the browser, not yet looked at @returns undefined: it is none, was used, or is too old */
  redeem(code: string): { readonly token: string; readonly session: BrowserSession<C> } | undefined {
    const offered = this.#find(this.#codes, code);
    if (!offered) return undefined;
    this.#codes.delete(digestOf(code));
    const token = this.#hold(this.#sessions, offered.name, offered.credentials, this.#nowMs() + this.#options.lifetimeMs);
    const session = this.#find(this.#sessions, token);
    return session && { token, session: shown(session) };
  }

  /** @param token from the browser, not yet looked at @param byPerson whether a person did something: what a page asks for by itself keeps no session alive */
  find(token: string, byPerson: boolean): BrowserSession<C> | undefined {
    const held = this.#find(this.#sessions, token);
    if (held && byPerson) held.usedAtMs = this.#nowMs();
    return held && shown(held);
  }

  end(token: string): void {
    if (SECRET_PATTERN.test(token)) this.#drop(this.#sessions, digestOf(token));
  }

  /** Ends all, waiting codes too, whose credentials do not count any more. */
  endWhere(refused: (credentials: C) => boolean): void {
    for (const held of [this.#codes, this.#sessions]) for (const [key, { credentials }] of held) if (refused(credentials)) this.#drop(held, key);
  }

  /** Where the clock was set back everything moves with it: nothing lasts longer for that. */
  #nowMs(): number {
    const nowMs = this.#options.nowMs();
    const backMs = this.#lastMs - nowMs;
    this.#lastMs = nowMs;
    if (backMs > 0)
      for (const held of [...this.#codes.values(), ...this.#sessions.values()]) {
        held.endsAtMs -= backMs;
        held.usedAtMs -= backMs;
      }
    return nowMs;
  }

  #find(held: Map<string, Held<C>>, secret: string): Held<C> | undefined {
    if (!SECRET_PATTERN.test(secret)) return undefined;
    const key = digestOf(secret);
    const nowMs = this.#nowMs();
    const found = held.get(key);
    if (!found) return undefined;
    if (nowMs < found.endsAtMs && nowMs - found.usedAtMs < this.#options.idleMs) return found;
    this.#drop(held, key);
    return undefined;
  }

  #hold(held: Map<string, Held<C>>, name: string, credentials: C, endsAtMs: number): string {
    const nowMs = this.#nowMs();
    for (const [key, each] of held) if (nowMs >= each.endsAtMs || nowMs - each.usedAtMs >= this.#options.idleMs) this.#drop(held, key);
    const own = [...held].filter(([, each]) => each.name === name);
    const [oldest] = own.length >= MAX_HELD_OF_NAME ? own : held.size >= MAX_HELD ? held : [];
    if (oldest) this.#drop(held, oldest[0]);
    const secret = this.#options.random(SECRET_BYTES).toString("base64url");
    held.set(digestOf(secret), { name, credentials, endsAtMs, usedAtMs: nowMs, abort: new AbortController() });
    return secret;
  }

  #drop(held: Map<string, Held<C>>, key: string): void {
    held.get(key)?.abort.abort();
    held.delete(key);
  }
}

const digestOf = (secret: string): string => hash("sha256", secret);

function shown<C>({ name, credentials, endsAtMs, abort }: Held<C>): BrowserSession<C> {
  return { name, credentials, endsAtMs, ended: abort.signal };
}
