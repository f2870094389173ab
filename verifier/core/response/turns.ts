import type { ActionRow } from "../../ports/rows.ts";

/** Actions that are looked at a part at a time: those after the one that was looked at last, and then from the beginning. None keeps the others waiting for ever, whatever it waits for itself. */
export class Turns {
  readonly #most: number;
  /** Number of the last one that had its turn. */
  #last = 0;

  /** @param most how many a turn has, 1 at least */
  constructor(most: number) {
    this.#most = most;
  }

  next(waiting: Iterable<ActionRow>): ActionRow[] {
    const rows = [...waiting].sort((a, b) => a.number - b.number);
    const from = rows.findIndex(({ number }) => number > this.#last);
    const next = rows.slice(Math.max(0, from)).slice(0, this.#most);
    this.#last = next.at(-1)?.number ?? 0;
    return next;
  }
}
