import { type FileReport, failuresOf, readReport, readUnhandled } from "./report.ts";

// node deploy/testing/summary.ts [--count-skipped] NAME:EXIT:REPORT... : sums vitest's JSON reports and single checks (no REPORT),
// names each failure, and prints `N passed, N failed` as its last line. Exit code 1 when anything failed.
// Beside REPORT.json there may be REPORT-again.json of the second try of its failed files: a file that passes it whole counts as passed, and what failed
// the first time is named as flaky.

interface Tally {
  passed: number;
  failed: number;
  readonly lines: string[];
}

/** One suite's outcome. A suite that wrote no report, or failed outside of any test, is one failure: silence never passes. */
function tally(name: string, exitCode: number, reportPath: string, countSkipped: boolean): Tally {
  if (reportPath === "") return exitCode === 0 ? { passed: 1, failed: 0, lines: [] } : { passed: 0, failed: 1, lines: [`✗ ${name}: exit code ${exitCode}`] };
  const files = readReport(reportPath);
  if (files === undefined) return { passed: 0, failed: 1, lines: [`✗ ${name}: ended with exit code ${exitCode} and no report`] };
  const again = new Map((readReport(reportPath.replace(/\.json$/, "-again.json")) ?? []).map((file) => [file.name, file]));
  const result: Tally = { passed: 0, failed: 0, lines: [] };
  let flaky = 0;
  for (const file of files) {
    const second = again.get(file.name);
    const mended = failuresOf(file).length > 0 && second !== undefined && isMended(file, second);
    if (mended) {
      flaky++;
      for (const line of failuresOf(file)) result.lines.push(`⚠ flaky, passed the second time: ${line}`);
    }
    addFile(result, mended ? second : file, countSkipped);
  }
  for (const line of readUnhandled(reportPath)) {
    result.failed++;
    result.lines.push(`✗ ${name}, outside of every test: ${line}`);
  }
  if (result.passed + result.failed === 0) {
    result.failed++;
    result.lines.push(`✗ ${name}: ran no test`);
  }
  if (exitCode !== 0 && result.failed === 0 && flaky === 0) {
    result.failed++;
    result.lines.push(`✗ ${name}: every test passed and yet the exit code is ${exitCode}`);
  }
  return result;
}

/** Whether all that the first try ran, passed in the second or did so before. */
function isMended(first: FileReport, second: FileReport): boolean {
  if (failuresOf(second).length > 0) return false;
  const passed = new Set(second.assertionResults.filter(({ status }) => status === "passed").map(({ fullName }) => fullName));
  return first.assertionResults.every(({ status, fullName }) => passed.has(fullName) || (status !== "passed" && status !== "failed"));
}

function addFile(result: Tally, file: FileReport, countSkipped: boolean): void {
  const failures = failuresOf(file);
  result.failed += failures.length;
  for (const line of failures) result.lines.push(`✗ ${line}`);
  for (const test of file.assertionResults) {
    if (test.status === "passed") result.passed++;
    else if (test.status !== "failed" && countSkipped) {
      result.failed++;
      result.lines.push(`✗ ${file.name} > ${test.fullName}: ${test.status}; a test that does not run counts as failed`);
    }
  }
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
  for (const line of suite.lines) console.log(`  ${line}`);
  console.log(`  ${suite.failed === 0 ? "✓" : "✗"} ${name}: ${suite.passed} passed, ${suite.failed} failed.`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
