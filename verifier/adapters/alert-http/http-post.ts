/** One bounded request, a POST unless it says otherwise, that follows no redirect: what the notifiers that speak HTTP have in common. */
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { NotifierError } from "../../ports/notifier.ts";

const MAX_RESPONSE_BYTES = 65_536;
const SHOWN_RESPONSE_CHARACTERS = 200;

export interface HttpPost {
  readonly url: string;
  /** Left out: POST. With GET the body is empty. */
  readonly method?: "GET" | "POST";
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** For the whole exchange, name look-up included. */
  readonly timeoutMs: number;
  /** PEM certificates to trust instead of the system's, for https. */
  readonly ca: string | undefined;
  /** Secrets in the body: nothing of an answer that repeats one of them is shown. */
  readonly secrets?: readonly string[];
}

/**
 * Resolves on a 2xx, with status and beginning of the answer. Header values, the path and the body are never part of that or of an error.
 * @throws NotifierError; the signal's reason
 */
export async function httpPost(post: HttpPost, signal: AbortSignal): Promise<string> {
  signal.throwIfAborted();
  const timeout = AbortSignal.timeout(post.timeoutMs);
  try {
    const { status, retryAfter, limited, text } = await exchange(post, AbortSignal.any([signal, timeout]));
    const answer = answerOf(status, text, wordsOf(post));
    const error = errorOf(limited ? 429 : status, retryAfter, answer);
    if (error) throw error;
    return answer;
  } catch (cause) {
    if (cause instanceof NotifierError) throw cause;
    signal.throwIfAborted();
    const { host } = new URL(post.url);
    if (timeout.aborted) throw new NotifierError("NOTIFY_TIMEOUT", `no answer from ${host} within ${post.timeoutMs} ms`, { cause });
    throw new NotifierError("NOTIFY_UNREACHABLE", `${host}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** A refusal that is for now alone: GitHub says 403 where others say 429. */
  readonly limited: boolean;
  readonly text: string;
}

function exchange(post: HttpPost, signal: AbortSignal): Promise<Answer> {
  const body = Buffer.from(post.body);
  return new Promise((resolve, reject) => {
    const options = {
      method: post.method ?? "POST",
      signal,
      headers: { ...post.headers, "content-length": body.length },
      ...(post.ca === undefined ? {} : { ca: post.ca }),
    };
    const request = (post.url.startsWith("https:") ? httpsRequest : httpRequest)(post.url, options, (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (length <= MAX_RESPONSE_BYTES) chunks.push(chunk);
        else response.destroy();
      });
      const { statusCode: status = 0, headers } = response;
      const retryAfter = headers["retry-after"];
      const limited = status === 403 && (retryAfter !== undefined || headers["x-ratelimit-remaining"] === "0");
      const done = () => resolve({ status, retryAfter, limited, text: Buffer.concat(chunks).toString("utf8") });
      response.on("end", done);
      // A body longer than anyone should send: the status has said what matters.
      response.on("close", () => (length > MAX_RESPONSE_BYTES ? done() : reject(new Error("the connection closed in the middle of the answer"))));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** Shorter words are no secrets, and everywhere. */
const MIN_SECRET_LENGTH = 8;

/** What a receiver may repeat and people are not to see (many say which path they do not have): the longest first. */
function wordsOf({ url, headers, secrets = [] }: HttpPost): string[] {
  const { pathname, search } = new URL(url);
  const values = Object.entries(headers).flatMap(([name, value]) => (name.toLowerCase() === "content-type" ? [] : value.split(" ")));
  const words = [...`${pathname}${search}`.split(/[/?&=;]/), ...values, ...secrets].filter(({ length }) => length >= MIN_SECRET_LENGTH);
  return [...new Set([...words, ...words.map(decoded)])].sort((a, b) => b.length - a.length);
}

function decoded(word: string): string {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}

function answerOf(status: number, text: string, words: readonly string[]): string {
  const said = words
    .reduce((shown, word) => shown.replaceAll(word, "…"), text)
    .replaceAll(/[\p{Cc}\p{Cf}]+/gu, " ")
    .slice(0, SHOWN_RESPONSE_CHARACTERS)
    .trim();
  return `HTTP ${status}${said ? `: ${said}` : ""}`;
}

function errorOf(status: number, retryAfter: string | undefined, message: string): NotifierError | undefined {
  if (status >= 200 && status < 300) return undefined;
  if (status >= 300 && status < 400) return new NotifierError("NOTIFY_REDIRECTED", `HTTP ${status}: redirects are not followed; correct the route's url`);
  if (status === 429 || status === 503) return new NotifierError("NOTIFY_THROTTLED", message, { retryAfterMs: retryAfterMs(retryAfter) });
  if (status === 408) return new NotifierError("NOTIFY_TIMEOUT", message);
  return new NotifierError(status >= 500 || status < 200 ? "NOTIFY_SERVER_ERROR" : "NOTIFY_REJECTED", message);
}

/** Retry-After in seconds (RFC 9110 section 10.2.3); a date is not honoured. */
function retryAfterMs(value: string | undefined): number | undefined {
  return value !== undefined && /^[0-9]{1,6}$/.test(value.trim()) ? Number(value) * 1000 : undefined;
}
