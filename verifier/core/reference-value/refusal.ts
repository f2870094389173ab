import type { UnextractableCode } from "./dialect.ts";
import type { Errno } from "./inode.ts";

/** Thrown inside a replay where the extractor stops; replay turns it into `unextractable`. The reason quotes names as JSON strings of their bytes. */
export class Refusal extends Error {
  readonly code: UnextractableCode;

  constructor(code: UnextractableCode, reason: string) {
    super(reason);
    this.name = "Refusal";
    this.code = code;
  }
}

/** Throws where a system call failed. */
export function succeed<T>(result: T | Errno, call: string, path: string): Exclude<T, Errno> {
  if (typeof result !== "string") return result as Exclude<T, Errno>;
  const code = result === "EHOST" ? "HOST_DEPENDENT" : "REFUSED";
  const shown = path.length > 200 ? `${path.slice(0, 200)}…` : path;
  throw new Refusal(code, `${call} ${JSON.stringify(shown)}: ${result}`);
}
