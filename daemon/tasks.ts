/** Services as tasks: each runs until the signal aborts, and the first failure stops its siblings. */
export type Task = (signal: AbortSignal) => Promise<void>;

/** @throws the first task's error; an unexpected return is an error too */
export async function runTasks(tasks: Readonly<Record<string, Task>>, signal: AbortSignal): Promise<void> {
  const stop = new AbortController();
  const all = AbortSignal.any([signal, stop.signal]);
  let first: unknown;
  const run = async (name: string, task: Task): Promise<void> => {
    try {
      await task(all);
      if (!all.aborted) throw new Error(`task ${name} ended on its own`);
    } catch (error) {
      if (!all.aborted) first = error;
    } finally {
      stop.abort();
    }
  };
  await Promise.all(Object.entries(tasks).map(([name, task]) => run(name, task)));
  if (first !== undefined) throw first;
}

/**
 * The first SIGTERM or SIGINT aborts the signal that is returned, a second ends the process at once with exit code 1.
 * @param onFirst called with the signal's name before the abort
 */
export function stopOnSignals(onFirst: (name: NodeJS.Signals) => void): AbortSignal {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const)
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(1);
      onFirst(signal);
      stop.abort();
    });
  return stop.signal;
}
