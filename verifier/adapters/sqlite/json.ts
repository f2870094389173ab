/** Rows as JSON text. Bytes become `{"$bytes": base64}` and bigints `{"$int": decimal}`; absent stays absent. */

export function toJson(row: unknown): string {
  return JSON.stringify(row, function (this: Record<string, unknown>, key: string, value: unknown) {
    // Buffer has a toJSON of its own, which runs before this function: look at what it was.
    const raw = this[key];
    if (raw instanceof Uint8Array) return { $bytes: Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).toString("base64") };
    if (typeof raw === "bigint") return { $int: raw.toString() };
    return value;
  });
}

/** Reads what {@link toJson} wrote: the caller names the type it put in. */
export function fromJson<T>(text: string): T {
  return JSON.parse(text, (_key, value: unknown) => {
    if (typeof value !== "object" || value === null) return value;
    if ("$bytes" in value) return Buffer.from(String(value.$bytes), "base64");
    if ("$int" in value) return BigInt(String(value.$int));
    return value;
  }) as T;
}
