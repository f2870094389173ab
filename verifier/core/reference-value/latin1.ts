/** Byte strings: JavaScript strings of one character a byte, so that names which are not UTF-8 survive and can key a Map. */

/** `bytes[start..end)` as a byte string. */
export function latin1(bytes: Uint8Array, start = 0, end: number = bytes.length): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1", start, end);
}

/** The bytes of a byte string. */
export function bytesOf(text: string): Buffer {
  return Buffer.from(text, "latin1");
}
