import { existsSync, readFileSync } from "node:fs";
import { excerpt, lastLines, shareOf } from "./excerpt.ts";
import { type FileReport, failuresOf, firstLine, readReport, readTold, type Told } from "./report.ts";

// node deploy/testing/summary.ts [--count-skipped] NAME:EXIT:FILE... : sums vitest's JSON reports (FILE is REPORT.json) and single checks (FILE is their log, or empty),
// names each failure, says of each why, and prints `N passed, N failed` as its last line. Exit code 1 when anything failed.
// Beside REPORT.json there may be REPORT-again.json of the second try of its failed files: a file that passes it whole counts as passed, and what failed
// the first time is named as flaky.

/** Of one failure, for people. */
interface Why {
  readonly what: string;
  readonly text: string;
}

interface Tally {
  passed: number;
  failed: number;
  readonly lines: string[];
  readonly whys: Why[];
  /** Of what passed the second time. */
  readonly flaky: Why[];
}

const whyOf = ({ file, test, text }: Told): Why => ({ what: [file, test].filter(Boolean).join(" > "), text });

/** One suite's outcome. A suite that wrote no report, or failed outside of any test, is one failure: silence never passes. */
function tally(name: string, exitCode: number, path: string, countSkipped: boolean): Tally {
  const result: Tally = { passed: 0, failed: 0, lines: [], whys: [], flaky: [] };
  const fail = (line: string): void => {
    result.failed++;
    result.lines.push(`✗ ${line}`);
  };
  if (!path.endsWith(".json")) {
    if (exitCode === 0) return { ...result, passed: 1 };
    fail(`${name}: exit code ${exitCode}`);
    if (existsSync(path)) result.whys.push({ what: name, text: lastLines(readFileSync(path, "utf8")) });
    return result;
  }
  const told = readTold(path);
  const files = readReport(path);
  if (files === undefined) {
    const running = unfinished(told);
    fail(`${name}: ended with exit code ${exitCode} and no report${running.length > 0 ? `, while this ran: ${running.join(" · ")}` : ""}`);
    result.whys.push(...told.filter(({ kind }) => kind === "failed").map(whyOf));
    return result;
  }
  const again = new Map((readReport(path.replace(/\.json$/, "-again.json")) ?? []).map((file) => [file.name, file]));
  for (const file of files) {
    const second = again.get(file.name);
    const mended = failuresOf(file).length > 0 && second !== undefined && isMended(file, second);
    if (mended) for (const line of failuresOf(file)) result.lines.push(`⚠ flaky, passed the second time: ${line}`);
    (mended ? result.flaky : result.whys).push(...told.filter(({ kind, file: of }) => kind === "failed" && of === file.name).map(whyOf));
    addFile(result, mended ? second : file, countSkipped);
  }
  for (const { text } of told.filter(({ kind }) => kind === "unhandled")) {
    fail(`${name}, outside of every test: ${firstLine(text)}`);
    result.whys.push({ what: `${name}, outside of every test`, text });
  }
  if (result.passed + result.failed === 0) fail(`${name}: ran no test`);
  if (exitCode !== 0 && result.failed === 0 && !result.lines.some((line) => line.startsWith("⚠")))
    fail(`${name}: every test passed and yet the exit code is ${exitCode}`);
  return result;
}

/** Tests that had begun when a run was ended. */
function unfinished(told: readonly Told[]): string[] {
  const running = new Set<string>();
  for (const each of told) {
    const { what } = whyOf(each);
    if (each.kind === "begun") running.add(what);
    else running.delete(what);
  }
  return [...running].slice(0, 10);
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
const whys: Why[] = [];
const flaky: Why[] = [];
for (const word of countSkipped ? words.slice(1) : words) {
  const [name = "", exitCode = "1", file = ""] = word.split(":");
  const suite = tally(name, Number(exitCode), file, countSkipped);
  passed += suite.passed;
  failed += suite.failed;
  whys.push(...suite.whys);
  flaky.push(...suite.flaky);
  for (const line of suite.lines) console.log(`  ${line}`);
  console.log(`  ${suite.failed === 0 ? "✓" : "✗"} ${name}: ${suite.passed} passed, ${suite.failed} failed.`);
}
const told = [...whys, ...flaky.map(({ what, text }) => ({ what: `flaky: ${what}`, text }))];
const { count, lines } = shareOf(told.length);
for (const { what, text } of told.slice(0, count)) console.log(`\n  ── ${what}\n${excerpt(text, lines).replaceAll(/^(?=.)/gm, "     ")}`);
if (told.length > 0) console.log(told.length > count ? `\n  and ${told.length - count} more\n` : "");
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
