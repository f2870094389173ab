import { writeFileSync } from "node:fs";
import type { Reporter, SerializedError } from "vitest/node";

/** Reporter of vitest's: errors that no test caught, which its JSON report leaves out, to the file that `HULLMARK_UNHANDLED` names, one a line. */
export default class UnhandledReporter implements Reporter {
  onTestRunEnd(_modules: unknown, errors: readonly SerializedError[]): void {
    const file = process.env["HULLMARK_UNHANDLED"];
    if (file !== undefined) writeFileSync(file, errors.map((error) => `${String(error.message).split("\n", 1)[0]}\n`).join(""));
  }
}
