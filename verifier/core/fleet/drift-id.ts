/** Short names for drifts: a running number, mixed so that neighbours do not look alike, in Crockford's base32. One number, one name, for ever. */
import { base32 } from "../text/base32.ts";

const FIRST_DIGITS = 4;
/** Odd, hence invertible modulo every power of two: no two numbers of one length share a name. */
const MULTIPLIER = 0x9e3779b1n;
const OFFSET = 0x5bd1en;

/** @param number 1..2^53 - 1 */
export function driftId(number: number): string {
  let rest = BigInt(number - 1);
  let digits = FIRST_DIGITS;
  // Names of each length are used up before the next: 2^20 of four digits, then 2^25 of five, …
  while (rest >= 1n << BigInt(digits * 5)) {
    rest -= 1n << BigInt(digits * 5);
    digits++;
  }
  return `D-${base32(rest * MULTIPLIER + OFFSET, digits)}`;
}

/** Gives out numbers; one for each verifier process. */
export class DriftNumbers {
  #last: number;

  /** @param last the highest number ever stored */
  constructor(last: number) {
    this.#last = last;
  }

  next(): { readonly number: number; readonly id: string } {
    const number = ++this.#last;
    return { number, id: driftId(number) };
  }
}
