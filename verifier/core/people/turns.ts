/** What strangers make the verifier ask of others: so many questions at a time, in all and for one address (of IPv6 a /64). Pure. */
import { networkOf } from "../enrolment/rate.ts";

const MAX_TURNS = 32;
const MAX_TURNS_OF_NETWORK = 8;

export class Turns {
  #taken = 0;
  readonly #ofNetwork = new Map<string, number>();

  /** @param peer address and port, as the transport tells them @returns gives it back, once; undefined: all are taken */
  take(peer: string): (() => void) | undefined {
    const network = networkOf(peer);
    const own = this.#ofNetwork.get(network) ?? 0;
    if (this.#taken >= MAX_TURNS || own >= MAX_TURNS_OF_NETWORK) return undefined;
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
