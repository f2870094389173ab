/** `hullmark policy revoke` in repositories whose history git is told to show otherwise than it is. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { policyRevokeCommand } from "hullmark/commands/policy-revoke";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runCommand } from "../fakes/command-run.ts";

let folder: string;
/** Newest first. */
let commits: readonly string[];
const git = (...args: readonly string[]): string => execFileSync("git", ["-C", folder, ...args], { encoding: "utf8", stdio: "pipe", timeout: 60_000 }).trim();

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "hullmark-range-"));
  git("init", "--quiet");
  const who = ["-c", "user.name=ann", "-c", "user.email=ann@acme.example"];
  for (const message of ["one", "two", "three", "four"]) git(...who, "commit", "--quiet", "--allow-empty", "-m", message);
  commits = git("rev-list", "HEAD").split("\n");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const revoked = async () => {
  const args = ["--repo", folder, "--commits", `${commits[3]}..${commits[0]}`, "--repository", "https://git.example/acme/app", "--reason", "backdoor"];
  const { code, out } = await runCommand(policyRevokeCommand, args, {});
  expect(code).toBe(0);
  return commits.filter((id) => out.includes(id));
};

const hidden: readonly (readonly [string, () => void])[] = [
  ["a replacement", () => git("replace", "--graft", "HEAD", "HEAD~3")],
  [
    "a graft",
    () => {
      mkdirSync(join(folder, ".git/info"), { recursive: true });
      writeFileSync(join(folder, ".git/info/grafts"), `${commits[0]} ${commits[3]}\n`);
    },
  ],
];

test.each(hidden)("a range is spelled out as it was committed, whatever %s leaves out", async (_, hide) => {
  hide();
  expect(git("rev-list", "HEAD").split("\n")).toHaveLength(2);
  expect(await revoked()).toEqual(commits.slice(0, 3));
  rmSync(join(folder, ".git/info/grafts"), { force: true });
  rmSync(join(folder, ".git/refs/replace"), { recursive: true, force: true });
});
