/** Bounded GETs of an issuer's documents: HTTPS, no redirect, no more bytes than they have. */
import { request } from "node:https";

const MAX_BYTES = 262_144;

export interface FetchOptions {
  readonly headers?: Headers;
  readonly signal: AbortSignal;
}

/** @param ca PEM, in place of the system's @throws the system's error; a TypeError for what is no https URL */
export function boundedFetch(ca: string | undefined): (url: string, options: FetchOptions) => Promise<Response> {
  return async (url, { headers, signal }) => {
    if (!url.startsWith("https://")) throw new TypeError("want https");
    return await new Promise((resolve, reject) => {
      const sent = request(url, { signal, headers: Object.fromEntries(headers ?? []), ...(ca !== undefined && { ca }) }, (response) => {
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
          // What is no answer, or sends elsewhere, has no body that matters.
          resolve(status === 200 ? new Response(Buffer.concat(chunks), { status }) : new Response(null, { status: status >= 300 ? status : 502 }));
        });
      });
      sent.on("error", reject);
      sent.end();
    });
  };
}
