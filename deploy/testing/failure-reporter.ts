import { appendFileSync } from "node:fs";
import { stripVTControlCharacters } from "node:util";
import type { Reporter, SerializedError, TestCase, TestModule, TestSuite } from "vitest/node";
import type { Told } from "./report.ts";

/**
 * Reporter of vitest's: what its JSON report leaves out, as it happens, to the file that `HULLMARK_TOLD` names, a JSON object a line: each failure whole, with what differs;
 * errors that no test caught; and which tests began, for a run that is ended before it can report.
 */
export default class FailureReporter implements Reporter {
  onTestCaseReady({ module, fullName }: TestCase): void {
    tell({ kind: "begun", file: module.moduleId, test: fullName, text: "" });
  }

  onTestCaseResult(test: TestCase): void {
    const { errors } = test.result();
    tell({ kind: errors?.length ? "failed" : "ended", file: test.module.moduleId, test: test.fullName, text: textOf(errors ?? []) });
  }

  onTestSuiteResult(suite: TestSuite): void {
    const errors = suite.errors();
    if (errors.length > 0) tell({ kind: "failed", file: suite.module.moduleId, test: suite.fullName, text: textOf(errors) });
  }

  onTestModuleEnd(module: TestModule): void {
    const errors = module.errors();
    if (errors.length > 0) tell({ kind: "failed", file: module.moduleId, test: "", text: textOf(errors) });
  }

  onTestRunEnd(_modules: unknown, errors: readonly SerializedError[]): void {
    for (const error of errors) tell({ kind: "unhandled", file: "", test: "", text: textOf([error]) });
  }
}

function tell(told: Told): void {
  const file = process.env["HULLMARK_TOLD"];
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(told)}\n`);
}

function textOf(errors: readonly SerializedError[]): string {
  return stripVTControlCharacters(errors.map(errorText).join("\n\n"));
}

function errorText({ name, message, diff, stacks, cause }: SerializedError): string {
  const own = stacks?.find(({ file }) => !file.includes("/node_modules/"));
  return [
    `${name ?? "Error"}: ${message}`,
    ...(own ? [`at ${own.file}:${own.line}:${own.column}`] : []),
    ...(typeof diff === "string" ? [diff.trim()] : []),
    ...(cause ? [`Caused by ${errorText(cause)}`] : []),
  ].join("\n");
}
