/** The node leaves out exactly the paths that policy calls mutable: both sides' globs over one real directory. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { LiveTree } from "@hullmark/native";
import { compileGlob } from "@hullmark/proto/codec";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const vectors = JSON.parse(readFileSync(new URL("../vectors/policy-glob.json", import.meta.url), "utf8"));
const globs: string[] = [...vectors.cases, ...vectors.bytes].map(({ glob }: { glob: string }) => glob);
const extra = ["/**/b", "/**/", "/a/**/**/b", "/*/*", "/a*/**", "/**a**", "/\\a", "/x/*?", "/**/b/c", "/?", "/a\\/b"];
const names: Buffer[] = [
  ...new Set<string>([
    ...vectors.cases
      .flatMap(({ matches, not }: { matches: string[]; not: string[] }) => [...matches, ...not])
      .map((path: string) => Buffer.from(path).toString("hex")),
    ...vectors.bytes.flatMap(({ matchesHex, notHex }: { matchesHex: string[]; notHex: string[] }) => [...matchesHex, ...notHex]),
  ]),
].map((hex) => Buffer.from(hex, "hex"));

let root: Buffer;

beforeAll(() => {
  root = Buffer.from(mkdtempSync(`${tmpdir()}/hullmark-glob-`));
  // Longest first: a name that is also the parent of another stays a directory.
  for (const name of names.toSorted((a, b) => b.length - a.length)) {
    const path = Buffer.concat([root, name]);
    mkdirSync(path.subarray(0, path.lastIndexOf(0x2f)), { recursive: true });
    try {
      writeFileSync(path, "data", { mode: 0o644, flag: "wx" });
    } catch (error) {
      if (!["EISDIR", "EEXIST"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    }
  }
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function measured(glob?: string): Promise<string[]> {
  using tree = new LiveTree(root, { overlayLayer: false, ...(glob === undefined ? {} : { excluded: [{ pattern: glob }] }) });
  await tree.measure();
  const { entries, truncated } = tree.entries({ maxEntries: 10_000 });
  expect(truncated).toBe(false);
  return entries.map(({ path }) => path.toString("hex")).sort();
}

describe("globs on the node and in policy", () => {
  it.each([...new Set([...globs, ...extra])])("%j", async (glob) => {
    const all = await measured();
    const match = compileGlob(glob);
    const kept = all.filter((hex) => !match(Buffer.concat([Buffer.from("/"), Buffer.from(hex, "hex")])));
    if (globs.includes(glob)) expect(kept.length).toBeLessThan(all.length);
    expect(await measured(glob)).toEqual(kept);
  });
});
