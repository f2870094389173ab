import { existsSync, readFileSync } from "node:fs";

/** What vitest's JSON reporter says of one test file. */
export interface FileReport {
  readonly name: string;
  readonly status: string;
  readonly message: string;
  readonly assertionResults: readonly { readonly status: string; readonly fullName: string; readonly failureMessages?: readonly string[] | null }[];
}

/** The files of a report of vitest's JSON reporter; undefined when there is none that can be read. */
export function readReport(path: string): readonly FileReport[] | undefined {
  try {
    return (JSON.parse(readFileSync(path, "utf8")) as { testResults: readonly FileReport[] }).testResults;
  } catch {
    return undefined;
  }
}

/** A line of `failure-reporter.ts`. */
export interface Told {
  readonly kind: "begun" | "ended" | "failed" | "unhandled";
  /** Empty where no test file is meant. */
  readonly file: string;
  /** With the suites that it is in; empty: the file itself. */
  readonly test: string;
  /** Lines of a failure. */
  readonly text: string;
}

/** What `failure-reporter.ts` left beside a report; nothing where there is no such file. */
export function readTold(reportPath: string): readonly Told[] {
  const file = reportPath.replace(/\.json$/, ".told");
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n").filter(Boolean);
  return lines.flatMap((line) => {
    try {
      return [JSON.parse(line) as Told];
    } catch {
      // The last one of a run that was killed.
      return [];
    }
  });
}

/** A line for each failure in a file, and one when it failed outside of any test. */
export function failuresOf(file: FileReport): readonly string[] {
  const broken = file.assertionResults.filter((test) => test.status === "failed");
  if (broken.length === 0) return file.status === "failed" ? [`${file.name}: ${firstLine(file.message)}`] : [];
  return broken.map((test) => `${file.name} > ${test.fullName}: ${firstLine(test.failureMessages?.[0] ?? "")}`);
}

export function firstLine(text: string): string {
  return text.trim().split("\n", 1)[0] ?? "";
}
