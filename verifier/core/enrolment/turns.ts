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

  /** @param peer address and port, as the transport tells them @returns gives it back, to be called once; undefined: all are taken */
  take(peer: string): (() => void) | undefined {
    const network = networkOf(peer);
    const own = this.#ofNetwork.get(network) ?? 0;
    if (this.#taken >= this.#limits.all || own >= this.#limits.ofAddress) return undefined;
    this.#taken++;
    this.#ofNetwork.set(network, own + 1);
    return () => {
      this.#taken--;
      const left = (this.#ofNetwork.get(network) ?? 1) - 1;
      if (left > 0) this.#ofNetwork.set(network, left);
      else this.#ofNetwork.delete(network);
    };
  }
}
