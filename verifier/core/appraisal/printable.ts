/** Bytes that a workload chose, made safe for a terminal, a page or a log: printable UTF-8 stays, everything else becomes `\xNN`. */

const MAX_PRINTABLE_CHARACTERS = 16384;
// Controls, line and paragraph separators, and the marks that turn the direction of text.
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}\\]/gu;

function escapeBytes(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += `\\x${byte.toString(16).padStart(2, "0")}`;
  return text;
}

/** Reversible: a backslash is written `\x5c`. */
export function printable(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = "";
  let at = 0;
  while (at < buffer.length) {
    const end = validPrefix(buffer, at);
    if (end > at) {
      text += buffer
        .subarray(at, end)
        .toString("utf8")
        .replace(UNSAFE, (c) => escapeBytes(Buffer.from(c)));
      at = end;
    } else {
      text += escapeBytes(buffer.subarray(at, at + 1));
      at++;
    }
    if (text.length > MAX_PRINTABLE_CHARACTERS) return `${text.slice(0, MAX_PRINTABLE_CHARACTERS)}…`;
  }
  return text;
}

const STRICT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Index after the longest run of valid UTF-8 that starts at `from`. */
function validPrefix(buffer: Buffer, from: number): number {
  const rest = buffer.subarray(from);
  if (isValid(rest)) return buffer.length;
  let low = 0;
  let at = from;
  while (at < buffer.length) {
    const length = sequenceLength(buffer[at] ?? 0);
    if (length === 0 || at + length > buffer.length || !isValid(buffer.subarray(at, at + length))) break;
    at += length;
    low++;
    if (low > MAX_PRINTABLE_CHARACTERS) break;
  }
  return at;
}

function sequenceLength(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead < 0xe0) return 2;
  if (lead >= 0xe0 && lead < 0xf0) return 3;
  if (lead >= 0xf0 && lead < 0xf5) return 4;
  return 0;
}

function isValid(bytes: Uint8Array): boolean {
  try {
    STRICT.decode(bytes);
    return true;
  } catch {
    return false;
  }
}
