/** One file's content by the native hasher, against Node's own. */
import { createHash, randomBytes } from "node:crypto";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hashFile } from "@hullmark/native";
import { expect, test } from "vitest";
import { run, scratch } from "./tree-support.ts";

test("the digest is that of the content, whatever its length, also through a link", async () => {
  const folder = scratch();
  symlinkSync("file", join(folder, "link"));
  for (const length of [0, 1, 55, 56, 63, 64, 65, 131_071, 131_072, 131_073, 400_000]) {
    const content = randomBytes(length);
    writeFileSync(join(folder, "file"), content);
    const expected = createHash("sha256").update(content).digest();
    expect(await hashFile(join(folder, "file"), length)).toEqual(expected);
    expect(await hashFile(join(folder, "link"), length)).toEqual(expected);
  }
});

test("many at a time", async () => {
  const folder = scratch();
  const contents = Array.from({ length: 16 }, () => randomBytes(100_000));
  for (const [i, content] of contents.entries()) writeFileSync(join(folder, String(i)), content);
  const digests = await Promise.all(contents.map((_, i) => hashFile(join(folder, String(i)), 100_000)));
  expect(digests).toEqual(contents.map((content) => createHash("sha256").update(content).digest()));
});

test("nothing but a regular file of that size is read", async () => {
  const folder = scratch();
  run("mkfifo", join(folder, "fifo"));
  writeFileSync(join(folder, "file"), "12345");
  for (const path of ["fifo", "absent", "."]) expect(await hashFile(join(folder, path), 1e9)).toBeUndefined();
  expect(await hashFile("/dev/zero", 1e9)).toBeUndefined();
  expect(await hashFile(join(folder, "file"), 4)).toBeUndefined();
});
