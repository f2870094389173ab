/** Contents that one node is asked for, over one stream: each question once, and for a bounded time. */

import { hash } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { ContentRefusal, type ContentRequestSchema, type ContentResponse } from "@hullmark/proto/v1/attestation";

type ContentRequestInit = MessageInitShape<typeof ContentRequestSchema>;
/** What is wanted: bytes of another digest are no answer. */
export type WantedFile = Omit<ContentRequestInit, "id" | "$typeName"> & { readonly sha256: Buffer };
/** undefined: the node did not answer. */
export type ContentAnswer = { readonly content: Buffer } | { readonly refusal: ContentRefusal } | undefined;

const MAX_OPEN = 4;
const PATIENCE_MS = 15_000;
const MAX_CONTENT_BYTES = 1_048_576;

export interface ContentStream {
  readonly send: (request: ContentRequestInit) => void;
  /** @returns cancels it */
  readonly after: (delayMs: number, run: () => void) => () => void;
}

export class ContentQuestions {
  readonly #stream: ContentStream;
  readonly #open = new Map<bigint, { readonly sha256: Buffer; readonly settle: (answer: ContentAnswer) => void }>();
  #lastId = 0n;

  constructor(stream: ContentStream) {
    this.#stream = stream;
  }

  /** @throws the signal's reason */
  async ask(wanted: WantedFile, signal: AbortSignal): Promise<ContentAnswer> {
    signal.throwIfAborted();
    if (this.#open.size >= MAX_OPEN) return { refusal: ContentRefusal.TOO_MANY };
    const id = ++this.#lastId;
    const { promise, resolve: settle, reject } = Promise.withResolvers<ContentAnswer>();
    this.#open.set(id, { sha256: wanted.sha256, settle });
    const cancel = this.#stream.after(PATIENCE_MS, () => settle(undefined));
    const aborted = (): void => reject(signal.reason);
    signal.addEventListener("abort", aborted, { once: true });
    try {
      this.#stream.send({ ...wanted, id });
      return await promise;
    } finally {
      signal.removeEventListener("abort", aborted);
      cancel();
      this.#open.delete(id);
    }
  }

  /** An answer to nothing is ignored: its question was given up, or never asked. What is not the content that was asked for is not taken. */
  accept({ id, refusal, content }: ContentResponse): void {
    const question = this.#open.get(id);
    if (!question) return;
    if (refusal !== ContentRefusal.UNSPECIFIED) question.settle({ refusal });
    else if (content.length > MAX_CONTENT_BYTES || !hash("sha256", content, "buffer").equals(question.sha256))
      question.settle({ refusal: ContentRefusal.CHANGED });
    else question.settle({ content: Buffer.from(content) });
  }

  /** The stream has ended. */
  close(): void {
    for (const { settle } of this.#open.values()) settle(undefined);
  }
}
