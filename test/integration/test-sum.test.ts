/** The sum at the end of `npm test` (deploy/testing): of what failed it names each and says why, whole, with what differs. By vitest itself. */
import { spawnSync } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

const REPOSITORY = new URL("../..", import.meta.url).pathname;
const FAILING = `
test("passes", () => void Promise.reject(new Error("nobody waits for this")));
describe("a group", () => {
  test("differs", () => expect(["same", "a whole line of what was printed"]).toEqual(["same", "another"]));
  test("throws a long message", () => { throw new Error("THE LINE\\n" + Array.from({ length: 500 }, (_, i) => "line " + i).join("\\n"), { cause: new Error("what led to it") }); });
});
describe("a broken one", () => {
  beforeAll(() => { throw new Error("nothing to test on"); });
  test("is not run", () => {});
});
`;

let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "hullmark-sum-"));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** As deploy/test.sh does. */
function runSuite(name: string, source: string): number {
  const root = join(home, name);
  mkdirSync(root);
  writeFileSync(join(root, "own.test.js"), source);
  const reporters = ["--reporter=default", `--reporter=${REPOSITORY}deploy/testing/failure-reporter.ts`, "--reporter=json"];
  const args = ["run", "--globals", "--root", root, ...reporters, `--outputFile.json=${join(home, `${name}.json`)}`];
  const env = { ...process.env, HULLMARK_TOLD: join(home, `${name}.told`), VITEST: undefined };
  return spawnSync(join(REPOSITORY, "node_modules/.bin/vitest"), args, { env, cwd: REPOSITORY }).status ?? -1;
}

function sum(...words: string[]): { readonly code: number | null; readonly lines: string[] } {
  const { status, stdout } = spawnSync(process.execPath, [join(REPOSITORY, "deploy/testing/summary.ts"), ...words], { encoding: "utf8" });
  return { code: status, lines: stdout.trimEnd().split("\n") };
}

const word = (name: string, code: number): string => `${name}:${code}:${join(home, `${name}.json`)}`;

test("says why each test failed, within its bounds, and what a failed step printed last", () => {
  const log = join(home, "step.log");
  writeFileSync(log, `${"before\n".repeat(500)}\u001b[31mthe reason\u001b[0m\n`);
  const { code, lines } = sum(`step:2:${log}`, `good:0:${log}`, word("suite", runSuite("suite", FAILING)));
  const text = lines.join("\n");
  expect(text).toContain("✗ step: exit code 2");
  expect(text).toMatch(/── step\n(?:(?! {2}──).*\n)* {5}the reason\n/);
  expect(text).toMatch(
    /own\.test\.js > a group > differs\n {5}AssertionError: .*\n {5}at .*own\.test\.js:4:\d+\n(?:(?! {2}──).*\n)* {5}\+ {3}"a whole line of what was printed",\n/,
  );
  expect(text).toMatch(
    /own\.test\.js > a group > throws a long message\n {5}Error: THE LINE\n(?:(?! {2}──).*\n)* {5}… \d+ lines …\n(?:(?! {2}──).*\n)* {5}Caused by Error: what led to it\n/,
  );
  expect(text).toMatch(/own\.test\.js > a broken one\n {5}Error: nothing to test on\n/);
  expect(text).toMatch(/── suite, outside of every test\n {5}Error: nobody waits for this\n/);
  expect(lines.length).toBeLessThan(150);
  expect([code, lines.at(-1)]).toEqual([1, "2 passed, 4 failed"]);
}, 120_000);

test("shows what passed the second time, and counts it as passed", () => {
  const source = (expected: number): string => `test("now and then", () => expect({ seen: 1 }).toEqual({ seen: ${expected} }));`;
  const code = runSuite("flaky", source(2));
  writeFileSync(join(home, "flaky/own.test.js"), source(1));
  writeFileSync(join(home, "flaky-again.json"), readFileSync(join(home, "flaky.json"), "utf8").replaceAll('"failed"', '"passed"'));
  const { code: ended, lines } = sum(word("flaky", code));
  expect(lines.join("\n")).toMatch(/── flaky: .*own\.test\.js > now and then\n(?:(?! {2}──).*\n)* {5}- {3}"seen": 2,\n {5}\+ {3}"seen": 1,\n/);
  expect([ended, lines.at(-1)]).toEqual([0, "1 passed, 0 failed"]);
}, 120_000);

test("names what ran where a suite was ended before it could report", () => {
  const begun = { file: "/own.test.js", text: "" };
  const told = [
    { kind: "begun", ...begun, test: "is over" },
    { kind: "ended", ...begun, test: "is over" },
    { kind: "begun", ...begun, test: "hangs" },
  ];
  appendFileSync(join(home, "ended.told"), `${told.map((each) => JSON.stringify(each)).join("\n")}\n{"kind":"be`);
  const { code, lines } = sum(word("ended", 124));
  expect(lines).toContain("  ✗ ended: ended with exit code 124 and no report, while this ran: /own.test.js > hangs");
  expect([code, lines.at(-1)]).toEqual([1, "0 passed, 1 failed"]);
});
