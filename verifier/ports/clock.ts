/** Time and waiting, so that the core has neither. */
export interface Clock {
  /** Unix milliseconds. */
  nowMs(): number;
  /**
   * Calls `run` once after `delayMs` (0..2^31 - 1). Does not keep the process alive.
   * @returns a function that cancels it; calling it again, or late, does nothing
   */
  after(delayMs: number, run: () => void): () => void;
}
