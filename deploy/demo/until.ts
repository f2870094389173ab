const PAUSE_MS = 200;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Looks until `done`, or for `withinMs`. @returns what it saw last */
export async function until<T>(look: () => Promise<T>, done: (seen: T) => boolean, withinMs: number): Promise<T> {
  for (const endMs = Date.now() + withinMs; ; ) {
    const seen = await look();
    if (done(seen) || Date.now() > endMs) return seen;
    await pause(PAUSE_MS);
  }
}
