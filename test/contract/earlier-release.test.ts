/** What upgrades are tried from is built once for the bytes that it is built from, and anew for others. */
import { hash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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
  await buildEarlier(state, { sources });
  expect(existsSync(built)).toBe(true);
  // As after a change of what the archive holds: what cannot be built is not taken for built.
  writeFileSync(sources, "another");
  await expect(buildEarlier(state, { sources })).rejects.toThrow("tar");
  expect(existsSync(built)).toBe(false);
});

test("what another checkout built of the same archive is taken, as a whole or not at all", async () => {
  const state = mkdtempSync(join(tmpdir(), "hullmark-earlier-"));
  onTestFinished(() => rmSync(state, { recursive: true }));
  const [sources, kept, complete] = [join(state, "sources.tar.xz"), join(state, "kept"), `complete-${hash("sha256", "no archive")}`];
  writeFileSync(sources, "no archive");
  mkdirSync(join(kept, "dist"), { recursive: true });
  writeFileSync(join(kept, "dist/agent.js"), "agent");
  await expect(buildEarlier(state, { sources, kept })).rejects.toThrow("tar");
  writeFileSync(join(kept, complete), "");
  await buildEarlier(state, { sources, kept });
  expect([existsSync(join(state, "earlier", complete)), readFileSync(join(state, "earlier/dist/agent.js"), "utf8")]).toEqual([true, "agent"]);
});
