/** Bounded requests to an issuer: HTTPS, no redirect, no more bytes than its documents have. */
import { request } from "node:https";

const MAX_BYTES = 262_144;
/** Answers that have no body. */
const EMPTY = new Set([204, 205, 304]);

export interface FetchOptions {
  readonly method?: string;
  readonly headers?: Headers | Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
}

/** @param caOf PEM, in place of the system's: read anew for each request @throws what that throws; the system's error; a TypeError for what is no https URL, or a body that is no text */
export function boundedFetch(caOf: () => string | undefined): (url: string, options: FetchOptions) => Promise<Response> {
  return async (url, { method = "GET", headers, body, signal }) => {
    if (!url.startsWith("https://")) throw new TypeError("want https");
    const ca = caOf();
    const text = textOf(body);
    const sent = { ...Object.fromEntries(new Headers(headers)), ...(text !== undefined && { "content-length": String(Buffer.byteLength(text)) }) };
    return await new Promise((resolve, reject) => {
      const outgoing = request(url, { method, headers: sent, ...(signal && { signal }), ...(ca !== undefined && { ca }) }, (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on("data", (chunk: Buffer) => {
          length += chunk.length;
          if (length > MAX_BYTES) response.destroy(new Error(`an answer of more than ${MAX_BYTES} bytes`));
          else chunks.push(chunk);
        });
        response.on("error", reject);
        response.on("end", () => {
          const status = response.statusCode ?? 0;
          const type = response.headers["content-type"];
          if (status < 200 || status > 599) return reject(new Error(`HTTP ${status}`));
          resolve(new Response(EMPTY.has(status) ? null : Buffer.concat(chunks), { status, headers: type === undefined ? {} : { "content-type": type } }));
        });
      });
      outgoing.on("error", reject);
      outgoing.end(text);
    });
  };
}

function textOf(body: unknown): string | undefined {
  if (body === undefined || body === null) return undefined;
  if (typeof body === "string" || body instanceof URLSearchParams) return String(body);
  throw new TypeError("want a text to send");
}
