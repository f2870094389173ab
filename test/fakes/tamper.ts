/** Every leaf of a JSON value, each altered or taken away, one at a time. */

type Path = readonly (string | number)[];
interface Tampered {
  /** As in `a.b.0`. */
  readonly name: string;
  readonly altered: unknown;
  readonly removed: unknown;
}

/** The last bit of what base64, base64url or hex stands for; numbers, their texts and dates by one; other texts by a letter in the middle. */
export function alter(value: unknown): unknown {
  if (typeof value === "number") return value + 1;
  if (typeof value !== "string") throw new TypeError("a leaf of another kind");
  if (/^\d+$/.test(value)) return String(BigInt(value) + 1n);
  if (/^\d{4}-\d\d-\d\dT/.test(value)) return new Date(Date.parse(value) + 1000).toISOString().replace(".000", "");
  const encoding = (["hex", "base64", "base64url"] as const).find((each) => value.length >= 16 && Buffer.from(value, each).toString(each) === value);
  const middle = value.length >> 1;
  if (encoding === undefined) return `${value.slice(0, middle)}~${value.slice(middle + 1)}`;
  const bytes = Buffer.from(value, encoding);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  return bytes.toString(encoding);
}

/** @param whole JSON alone */
export function tamper(whole: unknown): Tampered[] {
  return leaves(whole).map((path) => ({ name: path.join("."), altered: changed(whole, path, alter), removed: changed(whole, path, undefined) }));
}

function leaves(value: unknown, path: Path = []): Path[] {
  if (typeof value !== "object" || value === null) return [path];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, [...path, Array.isArray(value) ? Number(key) : key]));
}

function changed(whole: unknown, path: Path, change: ((value: unknown) => unknown) | undefined): unknown {
  const copy = structuredClone(whole) as Record<string | number, unknown>;
  let at = copy;
  for (const key of path.slice(0, -1)) at = at[key] as Record<string | number, unknown>;
  const last = path.at(-1) ?? "";
  if (change) at[last] = change(at[last]);
  else if (Array.isArray(at)) at.splice(Number(last), 1);
  else delete at[last];
  return copy;
}
