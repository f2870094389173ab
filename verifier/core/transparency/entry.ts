/**
 * What the log's entries say: one JSON object each, in canonical form (RFC 8785 restricted to integers: members sorted by UTF-16 code units, no white space),
 * so that the same facts are the same bytes. `type` and `time` are always there; the other members are named in docs/log.md.
 */
import { MAX_LOG_ENTRY_BYTES } from "../../ports/log-store.ts";
import { TransparencyError } from "./errors.ts";

/** Closed set of what is worth an entry. */
export const LOG_ENTRY_TYPES = [
  "start",
  "enrolment",
  "revocation",
  "verdict",
  "drift",
  "acknowledgement",
  "policy",
  "reference",
  "action",
  "admin",
  "admission",
] as const;
export type LogEntryType = (typeof LOG_ENTRY_TYPES)[number];

export type LogValue = string | number | boolean | null | readonly LogValue[] | { readonly [name: string]: LogValue };

export interface LogEntry {
  readonly type: LogEntryType;
  /** Unix milliseconds of the fact, by the verifier's clock; written as RFC 3339 in UTC with milliseconds. */
  readonly timeMs: number;
  /** Members besides `type` and `time`. Digests as `sha256:<hex>`; raw paths escaped (see `printable`); never a secret. */
  readonly fields: { readonly [name: string]: LogValue };
}

const MAX_DEPTH = 16;

/** The entry's bytes. @throws TransparencyError BAD_ENTRY for a value that has no canonical form, or more than 65,535 bytes */
export function encodeLogEntry({ type, timeMs, fields }: LogEntry): Buffer {
  if ("type" in fields || "time" in fields) throw new TransparencyError("BAD_ENTRY", "`type` and `time` are not fields");
  if (!Number.isSafeInteger(timeMs) || timeMs < 0 || timeMs > 253_402_300_799_999) throw new TransparencyError("BAD_ENTRY", `time ${timeMs}`);
  const bytes = Buffer.from(canonicalJson({ ...fields, type, time: new Date(timeMs).toISOString() }));
  if (bytes.length > MAX_LOG_ENTRY_BYTES) throw new TransparencyError("BAD_ENTRY", `${bytes.length} bytes, limit ${MAX_LOG_ENTRY_BYTES}`);
  return bytes;
}

/** Reads an entry as served by someone. @throws TransparencyError BAD_ENTRY unless the bytes are what {@link encodeLogEntry} produces */
export function decodeLogEntry(bytes: Uint8Array): LogEntry {
  if (bytes.length > MAX_LOG_ENTRY_BYTES) throw new TransparencyError("BAD_ENTRY", `${bytes.length} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw new TransparencyError("BAD_ENTRY", "not JSON in UTF-8", { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new TransparencyError("BAD_ENTRY", "not an object");
  const { type, time, ...fields } = value as Record<string, LogValue>;
  if (!LOG_ENTRY_TYPES.includes(type as LogEntryType) || typeof time !== "string") throw new TransparencyError("BAD_ENTRY", "without a known type and a time");
  const entry: LogEntry = { type: type as LogEntryType, timeMs: Date.parse(time), fields };
  if (!encodeLogEntry(entry).equals(bytes)) throw new TransparencyError("BAD_ENTRY", "not in canonical form");
  return entry;
}

/** Canonical JSON of a value of strings, safe integers, booleans, null, arrays and plain objects. @throws TransparencyError BAD_ENTRY for any other */
export function canonicalJson(value: unknown, depth = 0): string {
  if (depth > MAX_DEPTH) throw new TransparencyError("BAD_ENTRY", `nested deeper than ${MAX_DEPTH}`);
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new TransparencyError("BAD_ENTRY", "a string with a lone surrogate");
    return JSON.stringify(value);
  }
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) throw new TransparencyError("BAD_ENTRY", `number ${value}: only safe integers`);
    return String(value);
  }
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item, depth + 1)).join(",")}]`;
  if (typeof value !== "object" || Object.getPrototypeOf(value) !== Object.prototype)
    throw new TransparencyError("BAD_ENTRY", `a ${typeof value} has no canonical form`);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${canonicalJson(name)}:${canonicalJson(member, depth + 1)}`).join(",")}}`;
}
