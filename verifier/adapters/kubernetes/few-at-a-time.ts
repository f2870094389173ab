/** Writes into many namespaces: one that refuses them, or in which they hang until a call is given up (10 s), keeps none of the others back. */

/** At once: one that hangs has a lane to itself, the others go by the rest. */
const LANES = 4;
/** After so many failures on end nothing more is begun: where the API server takes nothing, little is asked of it. */
const MAX_FAILURES_ON_END = 8;

export interface Failed<T> {
  readonly item: T;
  readonly error: unknown;
}

/**
 * Begins in the order of the items. @param signal nothing more is begun once it aborts
 * @returns what failed, in the order in which it did; what was not begun is not among it
 */
export async function fewAtATime<T>(items: Iterable<T>, write: (item: T) => Promise<void>, signal: AbortSignal): Promise<readonly Failed<T>[]> {
  const failed: Failed<T>[] = [];
  let onEnd = 0;
  const queue = [...items].values();
  const lane = async (): Promise<void> => {
    while (!signal.aborted && onEnd < MAX_FAILURES_ON_END) {
      const { value: item, done } = queue.next();
      if (done) return;
      try {
        await write(item);
        onEnd = 0;
      } catch (error) {
        onEnd++;
        failed.push({ item, error });
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return failed;
}
