/** Compiled code is taken only from where nobody else can have put it. */
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { REPOSITORY } from "../../deploy/testbed/paths.ts";

// Not in the folder for temporary files, whose owner may be anybody where tests run.
const root = mkdtempSync(join(homedir(), ".hullmark-cache-test-"));
afterAll(() => rmSync(root, { recursive: true }));
let home = "";
let serial = 0;
beforeEach(() => {
  home = join(root, String(serial++));
  mkdirSync(join(home, ".cache/hullmark"), { recursive: true, mode: 0o700 });
});

const files = (folder = join(home, ".cache/hullmark")): readonly string[] =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((each) => (each.isFile() ? [join(each.parentPath, each.name)] : []))
    : [];

function version(environment: Record<string, string> = { HOME: home }) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(REPOSITORY, "cli/main.ts"), "--version"], { env: environment, encoding: "utf8" });
  return { status, stdout, stderr };
}
const GOOD = { status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), stderr: "" };

test("is kept in the user's own folder, made where it is not there, for its owner alone", () => {
  rmSync(join(home, ".cache"), { recursive: true });
  expect(version()).toEqual(GOOD);
  expect(files().length).toBeGreaterThan(0);
  expect(version()).toEqual(GOOD);
  const elsewhere = join(home, "other");
  expect(version({ HOME: home, XDG_CACHE_HOME: elsewhere })).toEqual(GOOD);
  expect(files(join(elsewhere, "hullmark")).length).toBeGreaterThan(0);
});

test("is its owner's alone where others made the folder readable: Node makes more in it by the umask", () => {
  chmodSync(join(home, ".cache/hullmark"), 0o755);
  expect(version()).toEqual(GOOD);
  expect(statSync(join(home, ".cache/hullmark")).mode & 0o777).toBe(0o700);
});

test("what is damaged, or of something else, changes nothing", () => {
  version();
  const kept = files();
  expect(kept.length).toBeGreaterThan(0);
  for (const [index, path] of kept.entries()) writeFileSync(path, index % 2 === 0 ? "no code" : Buffer.alloc(4096, 0xff));
  expect(version()).toEqual(GOOD);
});

describe("none is used", () => {
  test("where others may write: the folder, or one that it lies in", () => {
    for (const path of [".cache/hullmark", ".cache", "."]) {
      chmodSync(join(home, path), 0o777);
      expect(version()).toEqual(GOOD);
      expect(files()).toEqual([]);
      chmodSync(join(home, path), 0o700);
    }
    version();
    expect(files().length).toBeGreaterThan(0);
  });

  test.runIf(process.getuid?.() === 0)("where the folder, or the home, is somebody else's: also for root", () => {
    for (const path of [".cache/hullmark", "."]) {
      chownSync(join(home, path), 65534, 65534);
      expect(version()).toEqual(GOOD);
      expect(files()).toEqual([]);
      chownSync(join(home, path), 0, 0);
    }
    rmSync(join(home, ".cache"), { recursive: true });
    chownSync(home, 65534, 65534);
    expect(version()).toEqual(GOOD);
    expect(existsSync(join(home, ".cache"))).toBe(false);
  });

  test("where the way to it leads over a folder that others may write to", () => {
    const shared = join(home, "shared");
    mkdirSync(shared);
    chmodSync(shared, 0o777);
    rmSync(join(home, ".cache"), { recursive: true });
    symlinkSync(shared, join(home, ".cache"));
    expect(version()).toEqual(GOOD);
    expect(files(join(shared, "hullmark"))).toEqual([]);
  });

  test("where there is no home, no absolute path to it, or nothing can be written", () => {
    expect(version({})).toEqual(GOOD);
    expect(version({ HOME: "relative" })).toEqual(GOOD);
    expect(version({ HOME: "/proc/none" })).toEqual(GOOD);
    expect(existsSync(join(REPOSITORY, "relative"))).toBe(false);
  });
});
