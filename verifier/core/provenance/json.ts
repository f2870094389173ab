/** Reading JSON that somebody else wrote: nothing is assumed, everything is bounded, keys of the prototype are not found. */
import { ProvenanceError } from "./errors.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

/** @throws ProvenanceError MALFORMED where the bytes are not one JSON object in UTF-8 */
export function parseObject(bytes: Uint8Array, what: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new ProvenanceError("MALFORMED", `${what} is not JSON`, { cause });
  }
  const object = asObject(value);
  if (!object) throw new ProvenanceError("MALFORMED", `${what} is not a JSON object`);
  return object;
}

export function asObject(value: unknown): JsonObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
}

/** An own property, so that `__proto__` and `constructor` are not found. */
export function field(object: JsonObject | undefined, name: string): unknown {
  return object !== undefined && Object.hasOwn(object, name) ? object[name] : undefined;
}

export function objectField(object: JsonObject | undefined, name: string): JsonObject | undefined {
  return asObject(field(object, name));
}

/** A string of at most `maxChars`, or undefined. */
export function textField(object: JsonObject | undefined, name: string, maxChars = 4096): string | undefined {
  const value = field(object, name);
  return typeof value === "string" && value.length <= maxChars ? value : undefined;
}

/** An array of at most `maxItems`; absent or null is empty. @throws ProvenanceError MALFORMED, TOO_LARGE */
export function arrayField(object: JsonObject, name: string, maxItems: number): readonly unknown[] {
  const value = field(object, name);
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new ProvenanceError("MALFORMED", `${name} is not a list`);
  if (value.length > maxItems) throw new ProvenanceError("TOO_LARGE", `${name} has ${value.length} items, limit ${maxItems}`);
  return value;
}
