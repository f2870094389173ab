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

const STRICT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Decodes UTF-8; each byte that is not becomes the character U+10FF00 + byte, which no valid text of ours contains. */
function decodeLossless(bytes: Uint8Array): string {
  const whole = decoded(bytes);
  if (whole !== undefined) return whole;
  let out = "";
  for (let at = 0; at < bytes.length; ) {
    const byte = bytes[at] as number;
    const length = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    const character = at + length <= bytes.length ? decoded(bytes.subarray(at, at + length)) : undefined;
    out += character ?? String.fromCodePoint(0x10ff00 + byte);
    at += character === undefined ? 1 : length;
  }
  return out;
}

function decoded(bytes: Uint8Array): string | undefined {
  try {
    return STRICT.decode(bytes);
  } catch {
    return undefined;
  }
}
