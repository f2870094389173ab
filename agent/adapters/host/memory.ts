/** Gives memory back: V8 lets garbage stand for as long as allocation goes on, and a node with many short-lived processes makes it go on for ever. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Clock } from "../../ports/clock.ts";

const INTERVAL_MS = 20_000;
/** Heap and buffers below this are left alone: a steady agent holds some 30 MiB. */
const KEPT_BYTES = 64 * 1024 * 1024;

/** Collects when more than {@link KEPT_BYTES} are held, at most each {@link INTERVAL_MS}: some 30 ms of work for a heap of 20 MiB. Ends with the signal. */
export async function keepMemorySmall(clock: Clock, signal: AbortSignal): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  while (!signal.aborted) {
    await clock.sleep(INTERVAL_MS, signal);
    const { heapTotal, external } = process.memoryUsage();
    if (!signal.aborted && heapTotal + external > KEPT_BYTES) collect();
  }
}
