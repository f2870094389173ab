/** Entry bundles (C2SP tlog-tiles, "Log entries"): up to 256 entries, each after its big-endian u16 length. */
import { MAX_LOG_ENTRY_BYTES, TILE_WIDTH } from "../../ports/log-store.ts";
import { TransparencyError } from "./errors.ts";

/** Longest bundle in bytes. */
export const MAX_BUNDLE_BYTES: number = TILE_WIDTH * (MAX_LOG_ENTRY_BYTES + 2);

export function encodeBundle(entries: readonly Uint8Array[]): Buffer {
  if (entries.length > TILE_WIDTH) throw new TransparencyError("OUT_OF_RANGE", `${entries.length} entries, limit ${TILE_WIDTH}`);
  const parts: Uint8Array[] = [];
  for (const entry of entries) {
    if (entry.length > MAX_LOG_ENTRY_BYTES) throw new TransparencyError("OUT_OF_RANGE", `entry of ${entry.length} bytes, limit ${MAX_LOG_ENTRY_BYTES}`);
    const length = Buffer.allocUnsafe(2);
    length.writeUInt16BE(entry.length);
    parts.push(length, entry);
  }
  return Buffer.concat(parts);
}

/** Entries of a bundle as someone serves it; views into `bytes`. @throws TransparencyError BAD_BUNDLE on a cut entry or more than 256 */
export function decodeBundle(bytes: Uint8Array): Buffer[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: Buffer[] = [];
  for (let at = 0; at < buffer.length; ) {
    if (entries.length === TILE_WIDTH) throw new TransparencyError("BAD_BUNDLE", `more than ${TILE_WIDTH} entries`);
    const end = at + 2 <= buffer.length ? at + 2 + buffer.readUInt16BE(at) : Number.POSITIVE_INFINITY;
    if (end > buffer.length) throw new TransparencyError("BAD_BUNDLE", `entry ${entries.length} is cut at byte ${buffer.length}`);
    entries.push(buffer.subarray(at + 2, end));
    at = end;
  }
  return entries;
}
