/** Which containers need no look in full: everything that one reads is as it was at the last, and that one told all there was to tell. */
import type { ContainerMonitor } from "./container-monitor.ts";

/** Of a container in which nothing moves, so many looks at most are by its signature; at least half as many. */
const BY_SIGNATURE = 60;

export class LastLooks {
  readonly #signatureOf: (container: ContainerMonitor) => string | undefined;
  readonly #random: () => number;
  readonly #seen = new WeakMap<ContainerMonitor, { readonly signature: string; left: number }>();
  /** Those whose code was all told when it was looked at last. */
  readonly #steadyCode = new WeakSet<ContainerMonitor>();

  /** @param signatureOf as of ProcessInspector @param random 0 to 1, so that not all are looked at in full at once */
  constructor(signatureOf: (container: ContainerMonitor) => string | undefined, random: () => number) {
    this.#signatureOf = signatureOf;
    this.#random = random;
  }

  /** Whether this look can be left at that. */
  isAsSeen(container: ContainerMonitor): boolean {
    const seen = this.#seen.get(container);
    return seen !== undefined && seen.left-- > 0 && this.#signatureOf(container) === seen.signature;
  }

  /** Its code is looked at, by itself or in a look in full: what is told from then on is of another moment than the last look's. */
  codeBegins(container: ContainerMonitor): void {
    this.#seen.delete(container);
    this.#steadyCode.delete(container);
  }

  codeEnds(container: ContainerMonitor, steady: boolean): void {
    if (steady) this.#steadyCode.add(container);
  }

  /** Looks in full. What moved meanwhile may not be what was told: it counts only where the signature is the same before and after. */
  async inFull(container: ContainerMonitor, look: () => Promise<void>): Promise<void> {
    const signature = this.#signatureOf(container);
    await look();
    if (signature === undefined || !container.steady || !this.#steadyCode.has(container) || this.#signatureOf(container) !== signature) return;
    this.#seen.set(container, { signature, left: Math.ceil(BY_SIGNATURE * (0.5 + this.#random() / 2)) });
  }
}
