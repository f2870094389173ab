/** A clock on which whatever is waited for comes at once: with it the time moves on by as much. */
export function hurriedClock(startMs: number) {
  let nowMs = startMs;
  const pausesMs: number[] = [];
  return {
    /** What was waited for to its end, in order; milliseconds. */
    pausesMs,
    nowMs: () => nowMs,
    after(delayMs: number, run: () => void): () => void {
      const timer = setImmediate(() => {
        pausesMs.push(delayMs);
        nowMs += delayMs;
        run();
      });
      return () => clearImmediate(timer);
    },
  };
}
