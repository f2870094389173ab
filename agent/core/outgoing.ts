/** What the agent sends on one stream: answers first, then spooled Evidence in order. Pulled by the stream, so that a slow verifier slows nothing else. */
import type { OutgoingMessage } from "../ports/evidence-sink.ts";
import type { Spool } from "../ports/spool.ts";

/** Answers waiting for a slow stream. More than this means that the verifier asks without reading: the stream is closed. */
const MAX_PENDING_ANSWERS = 1024;

export class Outgoing implements AsyncIterable<OutgoingMessage> {
  readonly #spool: Spool;
  readonly #chainId: Buffer;
  readonly #answers: OutgoingMessage[] = [];
  /** Number of the newest Evidence sent; undefined: the verifier has not said yet where to start. */
  #sentSeq: bigint | undefined;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(spool: Spool) {
    this.#spool = spool;
    this.#chainId = spool.head().chainId;
  }

  /** The spool has begun another chain since: numbers and quotes of now mean nothing on this stream, which ends. */
  get stale(): boolean {
    return !this.#spool.head().chainId.equals(this.#chainId);
  }

  answer(message: OutgoingMessage): void {
    if (this.#answers.length >= MAX_PENDING_ANSWERS) this.#closed = true;
    else this.#answers.push(message);
    this.notify();
  }

  /** The verifier has said where to start. */
  get started(): boolean {
    return this.#sentSeq !== undefined;
  }

  /** Starts (again) after `seq`. */
  startAfter(seq: bigint): void {
    this.#sentSeq = seq;
    this.notify();
  }

  /** Something may have been spooled. */
  notify(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  close(): void {
    this.#closed = true;
    this.notify();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<OutgoingMessage> {
    for (;;) {
      if (this.stale) return;
      const answer = this.#answers.shift();
      if (answer) {
        yield answer;
        continue;
      }
      const next = this.#closed || this.#sentSeq === undefined ? undefined : this.#spool.after(this.#sentSeq)[0];
      if (next) {
        this.#sentSeq = next.seq;
        yield { message: { case: "evidence", value: { body: next.body } } };
        continue;
      }
      if (this.#closed) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
