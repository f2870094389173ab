/** Globs: the published vectors, a naive oracle, and the node's own measurer, which must leave out exactly the same paths. */
import { readFileSync } from "node:fs";
import { anyMatch, compileGlob, compileNames } from "@hullmark/proto/codec";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

interface Vectors {
  readonly cases: readonly { glob: string; matches: string[]; not: string[] }[];
  readonly bytes: readonly { glob: string; matchesHex: string[]; notHex: string[] }[];
}
const vectors: Vectors = JSON.parse(readFileSync(new URL("../vectors/policy-glob.json", import.meta.url), "utf8"));

/** The same rules by recursion, without a thought for speed. */
function naive(glob: string, name: string, start = true): boolean {
  if (glob === "") return name === "";
  const [first = "", second] = glob;
  const rest = name.slice(1);
  if (first === "\\" && second !== undefined) return name[0] === second && naive(glob.slice(2), rest, second === "/");
  if (start && glob.startsWith("**/")) {
    if (naive(glob.slice(3), name, true)) return true;
    return [...name].some((c, i) => c === "/" && naive(glob.slice(3), name.slice(i + 1), true));
  }
  if (glob.startsWith("**")) return Array.from({ length: name.length + 1 }, (_, i) => i).some((i) => naive(glob.slice(2), name.slice(i), false));
  if (first === "*") {
    const limit = name.includes("/") ? name.indexOf("/") : name.length;
    return Array.from({ length: limit + 1 }, (_, i) => i).some((i) => naive(glob.slice(1), name.slice(i), false));
  }
  if (name === "") return false;
  if (first === "?") return name[0] !== "/" && naive(glob.slice(1), rest, false);
  return name[0] === first && naive(glob.slice(1), rest, first === "/");
}

describe("policy globs", () => {
  it.each(vectors.cases)("$glob", ({ glob, matches, not }) => {
    const match = compileGlob(glob);
    for (const path of matches) expect(match(Buffer.from(path)), path).toBe(true);
    for (const path of not) expect(match(Buffer.from(path)), path).toBe(false);
  });

  it.each(vectors.bytes)("$glob over bytes that are not UTF-8", ({ glob, matchesHex, notHex }) => {
    const match = compileGlob(glob);
    for (const path of matchesHex) expect(match(Buffer.from(path, "hex")), path).toBe(true);
    for (const path of notHex) expect(match(Buffer.from(path, "hex")), path).toBe(false);
  });

  it("agree with the naive oracle", () => {
    const glob = fc.array(fc.constantFrom("/", "a", "b", "?", "*", "**", "**/", "\\*", "\\"), { minLength: 1, maxLength: 9 }).map((parts) => parts.join(""));
    const name = fc.array(fc.constantFrom("/", "a", "b", "*", "\\"), { maxLength: 9 }).map((parts) => parts.join(""));
    let hits = 0;
    fc.assert(
      fc.property(glob, name, (pattern, text) => {
        fc.pre(!pattern.replaceAll(/\\./g, "").includes("***"));
        const expected = naive(pattern, text);
        if (expected) hits++;
        expect(compileGlob(pattern)(Buffer.from(text)), `${pattern} ~ ${text}`).toBe(expected);
      }),
      { numRuns: 20_000 },
    );
    expect(hits).toBeGreaterThan(500);
  });

  it("take no exponential time, whoever chose glob and path", () => {
    const match = compileGlob(`/${"**a".repeat(100)}z`);
    expect(match(Buffer.from(`/${"a".repeat(65_000)}`))).toBe(false);
  });

  it("refuse what cannot be meant", () => {
    for (const bad of ["", "a\0b", "/a/***", "x".repeat(1025)]) expect(() => compileGlob(bad)).toThrow(/BAD_GLOB/);
    expect(anyMatch([], Buffer.from("/a"))).toBe(false);
    expect(compileNames([])("anything")).toBe(false);
    expect(compileNames(["LC_*", "TZ"])("LC_ALL")).toBe(true);
  });
});
