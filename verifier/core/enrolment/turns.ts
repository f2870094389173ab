/** What strangers make the verifier do for them: so much at a time, in all and for one address (of IPv6 a /64). Pure. */
import { networkOf } from "./rate.ts";

export interface TurnLimits {
  readonly all: number;
  readonly ofAddress: number;
}

export class Turns {
  readonly #limits: TurnLimits;
  #taken = 0;
  readonly #ofNetwork = new Map<string, number>();

  constructor(limits: TurnLimits) {
    this.#limits = limits;
  }

  /** @param peer address and port, as the transport tells them @param size how much of the bounds it takes, ≥ 0 @returns gives it back, to be called once; undefined: too much is taken */
  take(peer: string, size = 1): (() => void) | undefined {
    const network = networkOf(peer);
    const own = this.#ofNetwork.get(network) ?? 0;
    if (this.#taken + size > this.#limits.all || own + size > this.#limits.ofAddress) return undefined;
    this.#taken += size;
    this.#ofNetwork.set(network, own + size);
    return () => {
      this.#taken -= size;
      const left = (this.#ofNetwork.get(network) ?? size) - size;
      if (left > 0) this.#ofNetwork.set(network, left);
      else this.#ofNetwork.delete(network);
    };
  }
}
