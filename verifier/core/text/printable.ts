/** Names of files, containers and images are chosen by whoever runs the workload: what of them reaches a terminal, a pager or a label is made harmless here. */

/** UTF-8 where the bytes are valid; control characters, invisible formatting and undecodable bytes as `\xNN` or `\u{N}`, backslash as `\\`; cut with `…`. */
export function printable(bytes: Uint8Array | string, maxCharacters = 256): string {
  const text = typeof bytes === "string" ? bytes.toWellFormed() : decodeLossless(bytes);
  const escaped = text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\\]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (character === "\\") return "\\\\";
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
  // Bytes that were not UTF-8 wait in the private use area (see below).
  const shown = escaped.replaceAll(/[\u{10ff00}-\u{10ffff}]/gu, (character) => `\\x${((character.codePointAt(0) ?? 0) & 0xff).toString(16).padStart(2, "0")}`);
  return shown.length <= maxCharacters
    ? shown
    : `${shown
        .slice(0, maxCharacters - 1)
        .toWellFormed()
        .replace(/\ufffd$/, "")}…`;
}

/** Decodes UTF-8; each byte that is not becomes the character U+10FF00 + byte, which no valid text of ours contains. */
function decodeLossless(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = buffer.toString("utf8");
  if (!text.includes("\ufffd")) return text;
  let out = "";
  for (let at = 0; at < buffer.length; ) {
    const length = sequenceLength(buffer, at);
    out += length > 0 ? buffer.toString("utf8", at, at + length) : String.fromCodePoint(0x10ff00 + (buffer[at] as number));
    at += Math.max(1, length);
  }
  return out;
}

/** Bytes of the valid UTF-8 sequence at `at`; 0 where there is none. */
function sequenceLength(buffer: Buffer, at: number): number {
  for (const length of [1, 2, 3, 4]) {
    if (at + length > buffer.length) return 0;
    const character = buffer.toString("utf8", at, at + length);
    if (Buffer.byteLength(character) === length && !character.includes("\ufffd") && [...character].length === 1) return length;
  }
  return 0;
}
