/** What upgrades are tried from is built once for the bytes that it is built from, and anew for others. */
import { hash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { buildEarlier } from "../../deploy/images/earlier.ts";

test("what was built of one archive stands for no other, though both be called of the same commit", async () => {
  const state = mkdtempSync(join(tmpdir(), "hullmark-earlier-"));
  onTestFinished(() => rmSync(state, { recursive: true }));
  const sources = join(state, "sources.tar.xz");
  writeFileSync(sources, "no archive");
  mkdirSync(join(state, "earlier"));
  const built = join(state, `earlier/complete-${hash("sha256", "no archive")}`);
  writeFileSync(built, "");
  await buildEarlier(state, sources);
  expect(existsSync(built)).toBe(true);
  // As after a change of what the archive holds: what cannot be built is not taken for built.
  writeFileSync(sources, "another");
  await expect(buildEarlier(state, sources)).rejects.toThrow("tar");
  expect(existsSync(built)).toBe(false);
});
