/** Contents that one node is asked for. */

import { hash } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { ContentRefusal, type ContentRequestSchema, type ContentResponse } from "@hullmark/proto/v1/attestation";
import { type After, OpenQuestions } from "./open-questions.ts";

type ContentRequestInit = MessageInitShape<typeof ContentRequestSchema>;
/** What is wanted: bytes of another digest are no answer. */
export type WantedFile = Omit<ContentRequestInit, "id" | "$typeName"> & { readonly sha256: Buffer };
/** undefined: the node did not answer. */
export type ContentAnswer = { readonly content: Buffer } | { readonly refusal: ContentRefusal } | undefined;

const MAX_CONTENT_BYTES = 1_048_576;

export class ContentQuestions {
  readonly #send: (request: ContentRequestInit) => void;
  readonly #open: OpenQuestions<ContentResponse>;

  constructor(send: (request: ContentRequestInit) => void, after: After) {
    this.#send = send;
    this.#open = new OpenQuestions(after);
  }

  /** @throws the signal's reason */
  async ask(wanted: WantedFile, signal: AbortSignal): Promise<ContentAnswer> {
    const answer = await this.#open.ask((id) => this.#send({ ...wanted, id }), signal);
    if (answer === undefined) return undefined;
    if (answer === "too-many") return { refusal: ContentRefusal.TOO_MANY };
    const { refusal, content } = answer;
    if (refusal !== ContentRefusal.UNSPECIFIED) return { refusal };
    // What is not the content that was asked for is not taken.
    if (content.length > MAX_CONTENT_BYTES || !hash("sha256", content, "buffer").equals(wanted.sha256)) return { refusal: ContentRefusal.CHANGED };
    return { content: Buffer.from(content) };
  }

  accept(answer: ContentResponse): void {
    this.#open.accept(answer);
  }

  close(): void {
    this.#open.close();
  }
}
