/** The newest lists that issuers provably signed: what anybody served since, be it forged or a genuine one of before, does not replace them. */
import { type CertificateList, NUMBER, numberOf } from "../../core/certificates/crl.ts";

const MAX_LISTS = 256;
const MAX_TOTAL_BYTES = 64 << 20;

export class ProvenLists {
  /** The one that was asked for longest ago first. */
  readonly #lists = new Map<string, CertificateList>();

  /**
   * @param key whose list it is, and for what
   * @param served verified; undefined: nothing is served that holds @returns the newer of it and of what was served before
   */
  newest(key: string, served: CertificateList | undefined): CertificateList | undefined {
    const known = this.#lists.get(key);
    const newest = known && (!served || isOlder(served, known)) ? known : served;
    if (!newest) return undefined;
    this.#lists.delete(key);
    this.#lists.set(key, newest);
    let bytes = 0;
    let count = 0;
    for (const [each, { signed }] of [...this.#lists].toReversed()) {
      bytes += signed.length;
      if (++count > MAX_LISTS || (bytes > MAX_TOTAL_BYTES && count > 1)) this.#lists.delete(each);
    }
    return newest;
  }
}

/** By its date, and of one second by its number. */
function isOlder(one: CertificateList, other: CertificateList): boolean {
  if (one.thisUpdateMs !== other.thisUpdateMs) return one.thisUpdateMs < other.thisUpdateMs;
  return (numberOf(one, NUMBER) ?? 0n) < (numberOf(other, NUMBER) ?? 0n);
}
