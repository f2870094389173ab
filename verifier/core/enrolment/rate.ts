/**
 * How many enrolments may begin: anyone who reaches the port can ask, and each costs public-key operations. Token buckets, one for all and one for each
 * address, so that one flooding address leaves the others three quarters. Pure.
 */

/** A full bucket is what a whole cluster may ask at once, for example after a power cut: twenty seconds' worth, half of it by one address. */
const BURST_SECONDS = 20;
const ADDRESS = { share: 1 / 4, burstShare: 1 / 2 };
/** Addresses that are told apart; beyond these the one that was longest away is forgotten, and only the limit for all holds for it. */
const MAX_ADDRESSES = 4096;

export const DEFAULT_BEGINS_PER_SECOND = 100;

interface Bucket {
  left: number;
  atMs: number;
}

export type RateVerdict = "ok" | "rate" | "rate-of-address";

export class EnrolmentRate {
  readonly #perSecond: number;
  readonly #all: Bucket;
  /** The one that asked last comes last. */
  readonly #addresses = new Map<string, Bucket>();

  /** @param perSecond 1 or more, for all addresses together */
  constructor(perSecond: number = DEFAULT_BEGINS_PER_SECOND) {
    this.#perSecond = perSecond;
    this.#all = { left: perSecond * BURST_SECONDS, atMs: Number.NEGATIVE_INFINITY };
  }

  /**
   * Takes one from both buckets, or from neither.
   * @param peer address and port as the transport tells them; IPv6 addresses count by their /64
   * @param nowMs Unix milliseconds; a clock that went back adds nothing
   */
  take(peer: string, nowMs: number): RateVerdict {
    const burst = this.#perSecond * BURST_SECONDS;
    const address = networkOf(peer);
    const own = this.#addresses.get(address) ?? { left: burst * ADDRESS.burstShare, atMs: nowMs };
    this.#addresses.delete(address);
    this.#addresses.set(address, own);
    if (this.#addresses.size > MAX_ADDRESSES) this.#addresses.delete(this.#addresses.keys().next().value as string);
    refill(own, this.#perSecond * ADDRESS.share, burst * ADDRESS.burstShare, nowMs);
    refill(this.#all, this.#perSecond, burst, nowMs);
    if (own.left < 1) return "rate-of-address";
    if (this.#all.left < 1) return "rate";
    own.left--;
    this.#all.left--;
    return "ok";
  }
}

function refill(bucket: Bucket, perSecond: number, burst: number, nowMs: number): void {
  const elapsedMs = nowMs - bucket.atMs;
  // Also after a clock that went back: what is in the bucket stays.
  bucket.atMs = nowMs;
  if (elapsedMs > 0) bucket.left = Math.min(burst, bucket.left + (perSecond * elapsedMs) / 1000);
}

/** The address without its port; of IPv6 the network that one site has. */
export function networkOf(peer: string): string {
  const address = peer
    .replace(/:\d+$/, "")
    .replace(/^\[|\]$/g, "")
    .replace(/^::ffff:(?=\d+\.)/, "");
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("::");
  const groups = (text: string): string[] => (text === "" ? [] : text.split(":"));
  const missing = tail === undefined ? 0 : Math.max(0, 8 - groups(head).length - groups(tail).length);
  return [...groups(head), ...Array<string>(missing).fill("0"), ...groups(tail ?? "")].slice(0, 4).join(":");
}
