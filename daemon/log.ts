/** One JSON object a line on standard output; docs/logs.md names the fields. */
import { type Logger, pino } from "pino";

/**
 * @param level least severe level that is written
 * @param base fields that every line has
 */
export function openLog(level: string, base: Readonly<Record<string, string>>): Logger {
  // An HTTP client's error carries its request, and that its credentials.
  return pino({ level, base: { ...base }, timestamp: pino.stdTimeFunctions.isoTime, redact: ["err.config", "err.request"] });
}
