/** Tells a page that something changed, and what kind of thing: it asks again then. Server-sent events, at most one a second however much happens. */
import type { FastifyReply } from "fastify";
import type { EventBus, Events } from "../../core/fleet/events.ts";

const KINDS: readonly (keyof Events)[] = ["node", "workload", "workloadRemoved", "drift", "image", "action", "exception", "incident"];
const TOLD_EVERY_MS = 1000;
/** A word now and then keeps whatever lies between from ending a silent connection, and finds a session that is over. */
const WORD_EVERY_MS = 15_000;
/** Of all pages together: at the bound a page asks by itself now and then. */
const MAX_STREAMS = 256;
/** So that one person's pages leave others theirs. */
const MAX_STREAMS_OF_SESSION = 16;

export class Changes {
  readonly #events: EventBus;
  /** What ends each, and whose it is. */
  readonly #streams = new Map<() => void, AbortSignal>();

  constructor(events: EventBus) {
    this.#events = events;
  }

  /**
   * @param stands asked before every word: whether the session counts still
   * @param ended when it does not any more; the session's own
   * @returns false: there are too many
   */
  stream(reply: FastifyReply, stands: () => boolean, ended: AbortSignal): boolean {
    const own = [...this.#streams.values()].filter((each) => each === ended);
    if (this.#streams.size >= MAX_STREAMS || own.length >= MAX_STREAMS_OF_SESSION) return false;
    const changed = new Set<keyof Events>();
    const ends = KINDS.map((kind) => this.#events.on(kind, () => void changed.add(kind)));
    let wordAtMs = performance.now();
    const timer = setInterval(() => {
      const nowMs = performance.now();
      if (changed.size === 0 && nowMs - wordAtMs < WORD_EVERY_MS) return;
      if (!stands()) return end();
      // Nobody reads: what changed is told when it was read, once.
      if (reply.raw.writableNeedDrain) return;
      wordAtMs = nowMs;
      reply.raw.write(changed.size === 0 ? ":\n\n" : `data: ${[...changed].join(" ")}\n\n`);
      changed.clear();
    }, TOLD_EVERY_MS);
    const end = (): void => {
      clearInterval(timer);
      for (const each of ends) each();
      ended.removeEventListener("abort", end);
      this.#streams.delete(end);
      reply.raw.end();
    };
    this.#streams.set(end, ended);
    ended.addEventListener("abort", end, { once: true });
    reply.raw.on("close", end);
    reply.hijack();
    reply.raw.writeHead(200, { ...reply.getHeaders(), "content-type": "text/event-stream", "cache-control": "no-store" } as Record<string, string>);
    reply.raw.write(":\n\n");
    return true;
  }

  stop(): void {
    for (const end of this.#streams.keys()) end();
  }
}
