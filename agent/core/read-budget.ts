/** How much of the disk a pass over all trees may read again: what small trees leave over is for the ones that come after. */
import type { MeasureReport } from "../ports/tree-measurer.ts";

export class ReadBudget {
  /** Nothing is read again: metadata alone is looked at. */
  static readonly NONE = new ReadBudget(0, 0);

  #bytes: number;
  #trees: number;

  /** @param trees that share it; one that never asks leaves its share unread */
  constructor(bytes: number, trees: number) {
    this.#bytes = bytes;
    this.#trees = trees;
  }

  /** Of two passes made one, what the larger may read. */
  static larger(a: ReadBudget, b: ReadBudget): ReadBudget {
    return a.#bytes >= b.#bytes ? a : b;
  }

  get spent(): boolean {
    return this.#bytes <= 0;
  }

  /** Runs a tree's turn with its equal share of what is left, and gives back what it did not read. A turn that fails has used its share. */
  async turn(scrub: (maxBytes: number) => Promise<MeasureReport>): Promise<MeasureReport> {
    const share = this.#bytes / Math.max(1, this.#trees);
    this.#bytes -= share;
    this.#trees -= 1;
    const report = await scrub(share);
    this.#bytes += Math.max(0, share - report.hashedBytes);
    return report;
  }
}
