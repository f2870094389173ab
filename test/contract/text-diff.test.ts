/** Contents of files side by side, and a signed one found again in its layer's blob. */
import { hash } from "node:crypto";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { textDiff } from "@hullmark/verifier/core/contents/text-diff";
import { findContent } from "@hullmark/verifier/core/reference-value/index";
import { diffLines, diffSummary } from "hullmark/output/text-diff";
import { describe, expect, test } from "vitest";
import { raw } from "../fakes/tar-writer.ts";

const never = new AbortController().signal;
const of = (before: string | undefined, after: string | undefined) => compared(before, after) ?? expect.fail("too many lines");
const compared = (before: string | undefined, after: string | undefined) =>
  textDiff(before === undefined ? undefined : Buffer.from(before), after === undefined ? undefined : Buffer.from(after));

describe("lines", () => {
  test("are those that differ, with three around them; a last line without its end is told as one", () => {
    const lines = ["1", "2", "3", "4", "5", "6", "7", "8", "9"].join("\n");
    expect(of(`${lines}\n`, `${lines.replace("5", "five")}\n`).hunks).toBe("@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
    expect(of("a\n", "a").hunks).toBe("@@ -1,1 +1,1 @@\n-a\n+a\n\\ No newline at end of file\n");
    expect(of("a\r\n", "a\n").hunks).toBe("@@ -1,1 +1,1 @@\n-a\r\n+a\n");
    expect(of("same\n", "same\n")).toEqual({ hunks: "", binary: false });
  });

  test("are all of it where there was nothing, or is nothing", () => {
    expect(of(undefined, "a\nb\n").hunks).toBe("@@ -0,0 +1,2 @@\n+a\n+b\n");
    expect(of("a\nb\n", undefined).hunks).toBe("@@ -1,2 +0,0 @@\n-a\n-b\n");
    expect(of(undefined, "")).toEqual({ hunks: "", binary: false });
  });

  test("are of text alone", () => {
    expect(textDiff(Buffer.from("a"), Buffer.from([0x61, 0xff]))).toEqual({ hunks: "", binary: true });
    expect(of("a\0", "b")).toEqual({ hunks: "", binary: true });
  });

  test("are compared for a bounded time: what has nothing in common is all of the one, then all of the other", () => {
    const [was, is] = [0, 1].map((side) => Array.from({ length: 40_000 }, (_, i) => `${side} ${(i * 7919) % 40_009}`).join("\n"));
    const { hunks } = of(`${was}\n`, `${is}\n`);
    const lines = hunks.split("\n");
    expect([lines.filter((line) => line.startsWith("-")).length, lines.filter((line) => line.startsWith("+")).length]).toEqual([40_000, 40_000]);
  });

  test("are counted before they are compared: a file of nothing but ends of lines keeps nobody waiting", () => {
    for (const [was, is] of [
      [1_048_576, 0],
      [60_000, 60_001],
    ] as const)
      expect(compared("\n".repeat(was), "\n".repeat(is))).toBeUndefined();
    expect(of("\n".repeat(60_000), "").hunks.length).toBeGreaterThan(60_000);
  });

  test("take no terminal over and turn no line around", () => {
    const { hunks } = of("", "\ta\\b \u001b[2J\u202egnp\r\n");
    expect(diffLines({ hunks }).map(({ kind, text }) => [kind, text])).toEqual([
      ["hunk", "@@ -0,0 +1,1 @@"],
      ["added", "+\ta\\b \\x1b[2J\\u{202e}gnp\\x0d"],
    ]);
    expect(diffSummary({ binary: true, hunks: "", sizeBefore: 4n })).toBe("no text (not UTF-8, or with NUL): 4 bytes → removed");
  });
});

describe("the content that was signed", () => {
  const END = Buffer.alloc(1024);
  const tar = Buffer.concat([
    raw({ name: "./etc/a", data: "other" }),
    raw({ name: "etc/b", data: "right" }),
    raw({ name: "etc/b", data: "wrong" }),
    raw({ name: "c", data: "longer" }),
    END,
  ]);
  const found = async (blob: Buffer, content: string, maxBlobBytes = blob.length): Promise<string | undefined> => {
    let left = false;
    async function* chunks(): AsyncGenerator<Buffer> {
      try {
        for (let at = 0; at < blob.length; at += 100) yield blob.subarray(at, at + 100);
      } finally {
        left = true;
      }
    }
    const wanted = { sha256: hash("sha256", content, "buffer"), size: content.length };
    const result = await findContent(chunks(), maxBlobBytes, wanted, never);
    expect(left).toBe(true);
    return result?.toString();
  };

  test.each([
    ["none", tar],
    ["gzip", gzipSync(tar)],
    ["zstd", zstdCompressSync(tar)],
  ])("is found by its digest, whatever the name (%s)", async (_name, blob) => {
    for (const content of ["other", "right", "wrong", "longer"]) expect(await found(blob, content)).toBe(content);
    expect(await found(blob, "never")).toBeUndefined();
  });

  test("is not found in what is damaged, longer than was said, or no layer at all", async () => {
    const blob = gzipSync(tar);
    expect(await found(blob.subarray(0, 60), "longer")).toBeUndefined();
    expect(await found(blob, "longer", 10)).toBeUndefined();
    expect(await found(Buffer.from("no tar at all".repeat(100)), "longer")).toBeUndefined();
  });
});
