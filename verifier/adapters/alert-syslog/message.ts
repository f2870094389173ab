/** One syslog message of RFC 5424, with octet counting before it (RFC 5425 section 4.3, RFC 6587 section 3.4.1). */
import type { AlertSeverity } from "../../ports/notifier.ts";

/** RFC 5424 table 2. */
const SEVERITY: Readonly<Record<AlertSeverity, number>> = { critical: 2, high: 3, medium: 4, low: 5, info: 6 };
/** The longest field that is kept, in bytes of the message, tried in turn until that fits. */
const FIELD_LENGTHS = [4096, 2048, 1024, 512, 256, 128, 64, 32];

export interface SyslogHeader {
  /** 0..23, RFC 5424 table 1. */
  readonly facility: number;
  readonly severity: AlertSeverity;
  readonly atMs: number;
  readonly hostname: string;
  /** At most 32 printable ASCII characters. */
  readonly messageId: string;
}

/**
 * The message is JSON in ASCII, so that no byte order mark has to stand before it, which parsers of JSON refuse. Where it would be longer than `maxBytes` (at least
 * 2,048), long fields are cut and end in "...".
 */
export function syslogFrame(header: SyslogHeader, content: Readonly<Record<string, unknown>>, maxBytes: number): string {
  const { facility, severity, atMs, hostname, messageId } = header;
  const host = hostname.replaceAll(/[^\x21-\x7e]/g, "").slice(0, 255) || "-";
  const head = `<${facility * 8 + SEVERITY[severity]}>1 ${new Date(atMs).toISOString()} ${host} hullmark - ${messageId} - `;
  for (const length of FIELD_LENGTHS) {
    const message = head + asciiJson(shortened(content, length));
    if (message.length <= maxBytes) return `${message.length} ${message}`;
  }
  throw new RangeError(`a message of ${messageId} does not fit in ${maxBytes} bytes`);
}

function shortened(value: unknown, length: number): unknown {
  if (typeof value === "string") return cut(value, length);
  // Lists are of names: a shorter message has fewer of them.
  if (Array.isArray(value)) return value.slice(0, Math.max(1, length >> 6)).map((each) => shortened(each, length));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, shortened(each, length)]));
}

/** What is not ASCII takes 6 bytes a character and more: it is these that must fit. */
function cut(text: string, length: number): string {
  if (asciiJson(text).length - 2 <= length) return text;
  let [kept, bytes] = ["", 0];
  for (const character of text) {
    bytes += asciiJson(character).length - 2;
    if (bytes > length - 3) break;
    kept += character;
  }
  return `${kept}...`;
}

function asciiJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
