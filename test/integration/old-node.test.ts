import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

const REPOSITORY = new URL("../..", import.meta.url).pathname;

/**
 * What a Node of before lacks: functions of its modules (an import of one that is not there ends a program before its first line; here any import by the file
 * itself does), and the way to modules without an import.
 */
const OLDER = `
  import { registerHooks } from "node:module";
  registerHooks({ resolve(name, context, next) {
    if (/\\/dist\\/\\w+\\.js$/.test(context.parentURL ?? "") && context.parentURL !== name && !name.startsWith("file:")) throw new Error(name + " lacks something");
    return next(name, context);
  } });
  delete process.getBuiltinModule;
  Object.defineProperty(process.versions, "node", { value: "20.11.0" });
`;

const started = (program: string) => startedFile(join(REPOSITORY, "dist", `${program}.js`));

function startedFile(file: string): Promise<{ code: unknown; stderr: string }> {
  const args = ["--import", `data:text/javascript,${encodeURIComponent(OLDER)}`, file, "--version"];
  return new Promise((resolve) => execFile(process.execPath, args, (error, _out, stderr) => resolve({ code: error?.code, stderr })));
}

test.each(["agent", "actuator", "verifier"])("%s, on a Node that is too old, says so and what it wants", async (program) => {
  const { code, stderr } = await started(program);
  expect(stderr).toMatch(new RegExp(`^hullmark: \\S+/dist/${program}[.]js wants Node 24 or a later one, and runs on v[^\\n]*: start it by another\\n$`));
  expect(code).toBe(2);
});

test("the command too, and never with 1, which would be drift", async () => {
  const { code, stderr } = await started("hullmark");
  expect(stderr).toMatch(/^hullmark: this wants Node 24 or a later one, and runs on v[^\n]* put another first in PATH\n$/);
  expect(code).toBe(3);
});

test("and that of a checkout without the packages, whose sources an older Node cannot even read", async () => {
  const checkout = mkdtempSync(join(tmpdir(), "hullmark-checkout-"));
  onTestFinished(() => rmSync(checkout, { recursive: true }));
  for (const file of ["cli/package.json", "cli/bin/hullmark.js"]) cpSync(join(REPOSITORY, file), join(checkout, file));
  const { code, stderr } = await startedFile(join(checkout, "cli/bin/hullmark.js"));
  expect(stderr).toMatch(/^hullmark: this wants Node 24 or a later one, and runs on v[^\n]* put another first in PATH, or run npm ci, which brings one\n$/);
  expect(code).toBe(3);
});
