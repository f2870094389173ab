/** The JWS envelope: flattened JSON serialization (RFC 7515 section 7.2.2), Notary Project signature-envelope-jws.md. */
import { HEADER, MAX_CHAIN, MAX_SIGNATURE_BYTES, malformed, type OpenEnvelope } from "./envelope.ts";

const FORMAT_HEADERS: ReadonlySet<string> = new Set(["alg", "cty", "crit"]);

export function openJws(bytes: Uint8Array): OpenEnvelope {
  const json = object(bytes, "the envelope");
  const protectedText = text(json, "protected");
  const headers = object(base64url(protectedText), "the protected header");
  const unprotected = json["header"];
  if (typeof unprotected !== "object" || unprotected === null || Array.isArray(unprotected)) throw malformed("an envelope without header");
  const { x5c, [HEADER.timestamp]: token } = unprotected as Record<string, unknown>;
  // RFC 7515, section 4.
  if (Object.keys(unprotected).some((name) => Object.hasOwn(headers, name))) throw malformed("a header both protected and not");
  if (!Array.isArray(x5c) || x5c.length === 0 || x5c.length > MAX_CHAIN) throw malformed(`an envelope without certificates, or with more than ${MAX_CHAIN}`);
  const payload = text(json, "payload");
  const signature = base64url(text(json, "signature"));
  if (signature.length === 0 || signature.length > MAX_SIGNATURE_BYTES) throw malformed("an envelope without a signature of a known size");
  return {
    payload: base64url(payload),
    contentType: text(headers, "cty"),
    algorithm: text(headers, "alg"),
    critical: names(headers["crit"]),
    attributes: Object.keys(headers).filter((name) => !FORMAT_HEADERS.has(name)),
    scheme: text(headers, HEADER.scheme),
    authenticTimeMs: instant(headers[HEADER.authenticTime]),
    expiryMs: instant(headers[HEADER.expiry]),
    signed: Buffer.from(`${protectedText}.${payload}`),
    signature,
    chain: x5c.map(base64),
    timestampToken: token === undefined ? undefined : base64(token),
  };
}

function object(bytes: Uint8Array, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw malformed(`${what} is not JSON`, cause);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(`${what} is not a JSON object`);
  return value as Record<string, unknown>;
}

function text(json: Record<string, unknown>, name: string): string {
  const value = Object.hasOwn(json, name) ? json[name] : undefined;
  if (typeof value !== "string") throw malformed(`an envelope without ${name}`);
  return value;
}

function names(value: unknown): readonly string[] {
  if (!Array.isArray(value) || value.length > 64 || !value.every((name): name is string => typeof name === "string"))
    throw malformed("an envelope without crit");
  return value;
}

function instant(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const ms =
    typeof value === "string" && /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms)) throw malformed("a time that is not RFC 3339");
  return ms;
}

/** Without padding (RFC 7515 section 2), one encoding for each content. */
function base64url(value: string): Buffer {
  const bytes = Buffer.from(value, "base64url");
  if (bytes.toString("base64url") !== value) throw malformed("base64url that is not canonical");
  return bytes;
}

function base64(value: unknown): Buffer {
  const bytes = typeof value === "string" ? Buffer.from(value, "base64") : Buffer.alloc(0);
  if (bytes.length === 0 || bytes.toString("base64") !== value) throw malformed("base64 that is not canonical");
  return bytes;
}
