/**
 * Verdicts on one image that turned bad. What was read of its signatures before may lack the one that counts by now, and a list may be read while somebody replaces it:
 * such a verdict is told once registries were asked again, later than it was seen first. One that stands is told on, whatever policy or registries become.
 */
import type { ProvenanceResult } from "./image-entry.ts";

/** A moment in the order in which verdicts turned bad, of all images: 0, 1, … */
export type Moment = number;

/** Beyond it what is known is forgotten, and doubted anew. */
const MAX_PLACES = 256;

export class Doubts {
  /** By place, which outlives a change of policy: when it was seen first. */
  readonly #bad = new Map<string, Moment>();
  readonly #good = new Set<string>();
  /** Revocations that were seen until then have waited for their registry for long enough. */
  waitedSince: Moment = -1;

  /**
   * @param place which of the policy's rules judges
   * @param readAt when the reading of signatures began on which it rests; undefined: never wholly
   * @param next the moment of now, taken where it is seen first
   * @returns `tell`: it is the verdict. `hold`: it is not known before registries were asked again. `ask`: that, and nobody has asked them for it yet; `ask-later`: they had told otherwise a moment ago
   */
  see(
    place: string,
    { input: { status, required }, certain }: ProvenanceResult,
    readAt: Moment | undefined,
    next: () => Moment,
  ): "tell" | "hold" | "ask" | "ask-later" {
    if (status === "unknown") return "tell";
    // What no rule asks for is told as a warning, but for a revocation.
    const bad = status !== "signed" && (required || status === "revoked");
    if (certain || !bad) {
      this.#bad.delete(place);
      if (this.#good.size >= MAX_PLACES) this.#good.clear();
      if (status === "signed") this.#good.add(place);
      return "tell";
    }
    const seenAt = this.#bad.get(place);
    if (seenAt === undefined) {
      if (this.#bad.size >= MAX_PLACES) this.#bad.clear();
      this.#bad.set(place, next());
      return this.#good.delete(place) ? "ask-later" : "ask";
    }
    // Whoever takes a signer's trust away means what is signed already: a registry that does not answer hides that for a while alone.
    return (readAt ?? -1) >= seenAt || (status === "revoked" && this.waitedSince >= seenAt) ? "tell" : "hold";
  }

  /** Whether a verdict is bad, told or held back. */
  get any(): boolean {
    return this.#bad.size > 0;
  }

  /** When the last one was seen that rests on what was read before; undefined: none does. */
  heldSince(readAt: Moment | undefined): Moment | undefined {
    if (this.#bad.size === 0) return undefined;
    const last = Math.max(-1, ...this.#bad.values());
    return last > (readAt ?? -1) ? last : undefined;
  }
}
