/** Browsers that have gone to an issuer and are not back yet: each is known by a secret in a cookie of its own, so that nobody comes back with what another browser began. */
import { hash } from "node:crypto";
import type { SignInFlow } from "../../ports/sign-in.ts";
import { networkOf } from "../enrolment/rate.ts";

/** A person types a password in between. */
const WAITS_MS = 600_000;
/** At the bound the oldest of the address (of IPv6 a /64) gives way that began most: anybody may begin. */
const MAX_WAITING = 1000;
const SECRET_BYTES = 32;
/** Base64url of {@link SECRET_BYTES}. */
const SECRET_PATTERN = /^[A-Za-z0-9_-]{43}$/;

export interface Waiting {
  readonly source: string;
  readonly flow: SignInFlow;
}

export class SignIns {
  readonly #options: { readonly nowMs: () => number; readonly random: (bytes: number) => Buffer };
  /** By the SHA-256 of the secret, the oldest first. */
  readonly #waiting = new Map<string, Waiting & { readonly sinceMs: number; readonly network: string }>();

  constructor(options: { readonly nowMs: () => number; readonly random: (bytes: number) => Buffer }) {
    this.#options = options;
  }

  /** @param peer address and port that it came from, as the transport tells them @returns the secret */
  begin(waiting: Waiting, peer: string): string {
    if (this.#waiting.size >= MAX_WAITING) this.#giveWay();
    const secret = this.#options.random(SECRET_BYTES).toString("base64url");
    this.#waiting.set(hash("sha256", secret), { ...waiting, sinceMs: this.#options.nowMs(), network: networkOf(peer) });
    return secret;
  }

  #giveWay(): void {
    const byNetwork = Map.groupBy(this.#waiting, ([, { network }]) => network);
    const [oldest] = [...byNetwork.values()].reduce((most, each) => (each.length > most.length ? each : most));
    if (oldest) this.#waiting.delete(oldest[0]);
  }

  /** Once. @param secret from the browser, not yet looked at @returns undefined: it began nothing at this issuer, or too long ago */
  end(secret: string, source: string): SignInFlow | undefined {
    if (!SECRET_PATTERN.test(secret)) return undefined;
    const key = hash("sha256", secret);
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    const agoMs = this.#options.nowMs() - (waiting?.sinceMs ?? 0);
    return waiting?.source === source && agoMs >= 0 && agoMs < WAITS_MS ? waiting.flow : undefined;
  }
}
