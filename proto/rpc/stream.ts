/** grpc-js object streams as async iterables, with back-pressure and cancellation. */
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";

/**
 * Writes every item, waiting while the peer is slow. Settles, with what `items` threw if they did, when the last write is done; the caller ends the stream:
 * an end by an error would discard what still waits to be written.
 */
export async function pump<T>(items: AsyncIterable<T>, sink: Writable, signal: AbortSignal): Promise<void> {
  let waiting = 0;
  let idle: (() => void) | undefined;
  const written = (): void => {
    if (--waiting === 0) idle?.();
  };
  try {
    for await (const item of items) {
      if (signal.aborted || sink.destroyed) return;
      waiting++;
      if (!sink.write(item, written)) await once(sink, "drain", { signal });
    }
  } finally {
    if (waiting > 0 && !signal.aborted && !sink.destroyed)
      await new Promise<void>((resolve) => {
        idle = resolve;
        sink.once("close", resolve);
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
  }
}

/** The stream's messages, until its end. An abort ends the iteration with the abort's reason. */
export async function* iterate<T>(source: Readable, signal: AbortSignal): AsyncGenerator<T, void, undefined> {
  const abort = (): void => {
    source.destroy(signal.reason instanceof Error ? signal.reason : new DOMException("aborted", "AbortError"));
  };
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    yield* source as AsyncIterable<T>;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
