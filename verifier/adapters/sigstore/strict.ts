/** Stricter reading than the libraries': one encoding for each content, so that no altered byte goes unnoticed. */
import { SignatureFormatError } from "../../ports/signature-verifier.ts";

/** Standard base64 (RFC 4648, section 4), padded, without anything else in it. Node's own decoder skips what it does not know. */
export function decodeBase64(text: string): Buffer {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text) throw new SignatureFormatError("FORMAT", "base64 that is not canonical");
  return bytes;
}

export function parseJsonObject(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new SignatureFormatError("FORMAT", "not JSON", { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new SignatureFormatError("FORMAT", "not a JSON object");
  return value as Record<string, unknown>;
}
