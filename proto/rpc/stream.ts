/** grpc-js object streams as async iterables, with back-pressure and cancellation. */
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";

/** Writes every item, waiting while the peer is slow. Resolves after the last write; the caller ends the stream. */
export async function pump<T>(items: AsyncIterable<T>, sink: Writable, signal: AbortSignal): Promise<void> {
  for await (const item of items) {
    if (signal.aborted || sink.destroyed) return;
    if (!sink.write(item)) await once(sink, "drain", { signal });
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
