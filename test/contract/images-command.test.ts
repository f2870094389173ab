import { execFile } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

const REPOSITORY = new URL("../..", import.meta.url).pathname;

/** `npm run images` as somebody types it. */
function said(...args: string[]): Promise<{ code: unknown; stderr: string }> {
  return new Promise((resolve) =>
    execFile(process.execPath, [join(REPOSITORY, "deploy/images/main.ts"), ...args], (error, _out, stderr) => resolve({ code: error?.code, stderr })),
  );
}

test.each([
  ["an option that there is not", ["--tga", "1"], /^Unknown option '--tga'.*\nusage: npm run images/],
  ["a tag for nothing", ["--tag", "1"], /^--tag and --key are for what is pushed\nusage:/],
  [
    "a key that is not there",
    ["--push", "localhost:1/x", "--key", "/nowhere/release.key"],
    /^\/nowhere\/release\.key is not there: hullmark keygen --prefix NAME makes NAME\.key\n$/,
  ],
] as const)("%s is told at once, and how it goes", async (_what, args, text) => {
  const { code, stderr } = await said(...args);
  expect(stderr).toMatch(text);
  expect(code).toBe(2);
});
