/** Keeps the process small: V8 lets garbage stand for as long as allocation goes on, malloc keeps what was freed, and what starting took stays resident. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { boundMemory, trimMemory } from "@hullmark/native";
import type { Clock } from "../../ports/clock.ts";

const INTERVAL_MS = 20_000;
/** Grown by less than this since the last collection, the heap is left alone: some 50 ms of work for a heap of 15 MB. */
const GROWTH_BYTES = 6 * 1024 * 1024;
/** The first collection comes early: what starting took is never needed again. */
const FIRST_MS = 5_000;

type Collect = (options: { type: "major"; flavor: "regular" | "last-resort" }) => void;

/** Collects when the heap has grown, and gives back what is not needed resident, at most each {@link INTERVAL_MS}. Ends with the signal. */
export async function keepMemorySmall(clock: Clock, signal: AbortSignal): Promise<void> {
  boundMemory();
  setFlagsFromString("--expose-gc");
  await clock.sleep(FIRST_MS, signal);
  for (let settledBytes = 0; !signal.aborted; await clock.sleep(INTERVAL_MS, signal)) {
    if (heldBytes() > settledBytes + GROWTH_BYTES) {
      // The thorough kind gives back code that is not used any more, too, and takes several times as long: once.
      const flavor = settledBytes === 0 ? "last-resort" : "regular";
      // A context of its own each time: kept, it would be a megabyte for one function.
      (runInNewContext("gc") as Collect)({ type: "major", flavor });
      settledBytes = heldBytes();
    }
    trimMemory();
  }
}

/** Reserved by the heap, and by buffers outside of it. */
function heldBytes(): number {
  const { heapTotal, external } = process.memoryUsage();
  return heapTotal + external;
}
