/** {@link RevocationAnswers} over plain HTTP, as the Notary Project has it: what comes is signed. Kept in memory, each for as long as it says of itself. */
import { get, type RequestOptions } from "node:http";
import type { LookupFunction } from "node:net";
import { MAX_LIST_BYTES, readCrl } from "../../core/certificates/crl.ts";
import type { RevocationAnswers } from "../../ports/revocation-answers.ts";

export interface AnswerOptions {
  readonly nowMs: () => number;
  /** Bounds whom is asked; undefined: anybody. */
  readonly reach?: { check(host: string): void; lookup(host: string): LookupFunction | undefined } | undefined;
  /** For the whole of one answer. Default 5000, the specification's. */
  readonly timeoutMs?: number | undefined;
}

/** An answer is asked for again after this time, though it were good for longer: what was revoked since shows. */
const FRESH_MS = 10 * 60_000;
const PAUSE_MS = 60_000;
const MAX_ANSWERS = 256;
const MAX_TOTAL_BYTES = 64 << 20;
const MAX_AT_ONCE = 4;

interface Answer {
  readonly bytes: Buffer | undefined;
  readonly problem: string | undefined;
  readonly dueMs: number;
}

export class HttpRevocationAnswers implements RevocationAnswers {
  readonly #options: AnswerOptions;
  /** The one that was fetched longest ago first. */
  readonly #answers = new Map<string, Answer>();
  readonly #flights = new Map<string, Promise<void>>();

  constructor(options: AnswerOptions) {
    this.#options = options;
  }

  get(url: string): Buffer | undefined {
    return this.#answers.get(url)?.bytes;
  }

  problem(url: string): string | undefined {
    return this.#answers.get(url)?.problem;
  }

  async refresh(urls: readonly string[], waiting: AbortSignal): Promise<boolean> {
    const nowMs = this.#options.nowMs();
    const due = [...new Set(urls)].filter((url) => (this.#answers.get(url)?.dueMs ?? 0) <= nowMs).slice(0, MAX_ANSWERS);
    if (due.length === 0) return false;
    const queue = due.values();
    const lane = async (): Promise<void> => {
      for (const url of queue) await this.#fly(url);
    };
    const all = Promise.all(Array.from({ length: MAX_AT_ONCE }, lane));
    if (waiting.aborted) return true;
    const over = Promise.withResolvers<void>();
    const onAbort = (): void => over.resolve();
    waiting.addEventListener("abort", onAbort, { once: true });
    await Promise.race([all, over.promise]);
    waiting.removeEventListener("abort", onAbort);
    return true;
  }

  /** One at a time of each, whoever waits. */
  #fly(url: string): Promise<void> {
    const before = this.#flights.get(url);
    if (before) return before;
    const flight = this.#ask(url).finally(() => this.#flights.delete(url));
    this.#flights.set(url, flight);
    return flight;
  }

  async #ask(url: string): Promise<void> {
    const { nowMs, reach, timeoutMs = 5000 } = this.#options;
    const known = this.#answers.get(url)?.bytes;
    let answer: Answer;
    try {
      const fetched = await download(url, reach, timeoutMs);
      const bytes = known?.equals(fetched) ? known : fetched;
      const leftMs = (readCrl(bytes).nextUpdateMs ?? 0) - nowMs();
      answer = { bytes, problem: undefined, dueMs: nowMs() + Math.max(PAUSE_MS, Math.min(FRESH_MS, leftMs)) };
    } catch (error) {
      const problem = error instanceof Error ? error.message.slice(0, 200) : "failed";
      answer = { bytes: known, problem: `could not be fetched: ${problem}`, dueMs: nowMs() + PAUSE_MS };
    }
    this.#answers.delete(url);
    this.#answers.set(url, answer);
    let bytes = 0;
    for (const [oldest, { bytes: kept }] of [...this.#answers].toReversed()) {
      bytes += kept?.length ?? 0;
      if (bytes > MAX_TOTAL_BYTES && oldest !== url) this.#answers.delete(oldest);
    }
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size <= MAX_ANSWERS) break;
      this.#answers.delete(oldest);
    }
  }
}

/** Follows no redirect. */
function download(address: string, reach: AnswerOptions["reach"], timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const url = new URL(address);
    reach?.check(url.host);
    const lookup = reach?.lookup(url.host);
    const timeout = AbortSignal.timeout(timeoutMs);
    const fail = (error: unknown): void => reject(timeout.aborted ? new Error(`no answer within ${timeoutMs} ms`) : error);
    const options: RequestOptions = { agent: false, signal: timeout, maxHeaderSize: 16_384, ...(lookup && { lookup }) };
    const request = get(url, options, (response) => {
      response.on("error", fail);
      if (response.statusCode !== 200) {
        response.destroy();
        return fail(new Error(`HTTP ${response.statusCode}`));
      }
      const chunks: Buffer[] = [];
      let length = 0;
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (length > MAX_LIST_BYTES) response.destroy(new Error(`more than ${MAX_LIST_BYTES} bytes`));
        else chunks.push(chunk);
      });
      response.on("end", () => resolve(Buffer.concat(chunks)));
    });
    request.on("error", fail);
  });
}
