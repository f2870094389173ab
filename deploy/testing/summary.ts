import { readFileSync } from "node:fs";

// node deploy/testing/summary.ts [--count-skipped] NAME:EXIT:REPORT... : sums vitest's JSON reports and single checks (no REPORT),
// names each failure, and prints `N passed, N failed` as its last line. Exit code 1 when anything failed.

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string; readonly failureMessages?: readonly string[] | null }[];
  }[];
}

interface Tally {
  passed: number;
  failed: number;
  readonly lines: string[];
}

/** One suite's outcome. A suite that wrote no report, or failed outside of any test, is one failure: silence never passes. */
function tally(name: string, exitCode: number, reportPath: string, countSkipped: boolean): Tally {
  if (reportPath === "") return exitCode === 0 ? { passed: 1, failed: 0, lines: [] } : { passed: 0, failed: 1, lines: [`${name}: exit code ${exitCode}`] };
  let report: Report;
  try {
    report = JSON.parse(readFileSync(reportPath, "utf8")) as Report;
  } catch {
    return { passed: 0, failed: 1, lines: [`${name}: ended with exit code ${exitCode} and no report`] };
  }
  const result: Tally = { passed: report.numPassedTests, failed: report.numFailedTests, lines: [] };
  for (const file of report.testResults) {
    const broken = file.assertionResults.filter((test) => test.status === "failed");
    for (const test of broken) result.lines.push(`${file.name} > ${test.fullName}: ${firstLine(test.failureMessages?.[0] ?? "")}`);
    if (file.status === "failed" && broken.length === 0) {
      result.failed++;
      result.lines.push(`${file.name}: ${firstLine(file.message)}`);
    }
    if (!countSkipped) continue;
    for (const test of file.assertionResults) {
      if (test.status !== "passed" && test.status !== "failed")
        result.lines.push(`${file.name} > ${test.fullName}: ${test.status}; a test that does not run counts as failed`);
    }
  }
  if (countSkipped) result.failed += report.numPendingTests + report.numTodoTests;
  if (result.passed + result.failed === 0) {
    result.failed++;
    result.lines.push(`${name}: ran no test`);
  }
  if (exitCode !== 0 && result.failed === 0) {
    result.failed++;
    result.lines.push(`${name}: every test passed and yet the exit code is ${exitCode}`);
  }
  return result;
}

function firstLine(text: string): string {
  return text.trim().split("\n", 1)[0] ?? "";
}

const words = process.argv.slice(2);
const countSkipped = words[0] === "--count-skipped";
let passed = 0;
let failed = 0;
for (const word of countSkipped ? words.slice(1) : words) {
  const [name = "", exitCode = "1", report = ""] = word.split(":");
  const suite = tally(name, Number(exitCode), report, countSkipped);
  passed += suite.passed;
  failed += suite.failed;
  for (const line of suite.lines) console.log(`  ✗ ${line}`);
  console.log(`  ${suite.failed === 0 ? "✓" : "✗"} ${name}: ${suite.passed} passed, ${suite.failed} failed.`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
