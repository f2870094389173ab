/**
 * RFC 6962 proofs published by transparency-dev/merkle (testdata at 417fb0c, Apache-2.0), most of them tampered with.
 * They are read from `../shared/corpora/merkle` beside the project, which asks not to be copied: skipped where it is absent, required under CI.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { TransparencyError, verifyConsistency, verifyInclusion } from "@hullmark/verifier/core/transparency/index";
import { describe, expect, it } from "vitest";

const corpus = new URL("../../../shared/corpora/merkle/", import.meta.url).pathname;
const present = existsSync(corpus);

function cases(kind: string): { file: string; data: Record<string, unknown> }[] {
  if (!present) return [];
  const files = readdirSync(join(corpus, kind), { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".json"));
  return files.sort().map((file) => ({ file, data: JSON.parse(readFileSync(join(corpus, kind, file), "utf8")) }));
}

const hash = (value: unknown) => Buffer.from(String(value ?? ""), "base64");
const proof = (value: unknown) => ((value as string[] | null) ?? []).map(hash);

function outcome(verify: () => void): boolean {
  try {
    verify();
    return false;
  } catch (error) {
    expect(error).toBeInstanceOf(TransparencyError);
    return true;
  }
}

describe("transparency-dev/merkle proofs", () => {
  if (!present && process.env["CI"])
    it("has the corpus under CI", () => {
      throw new Error("../shared/corpora/merkle is missing");
    });

  it.runIf(present)("has both kinds, with proofs that hold and proofs that do not", () => {
    for (const kind of ["inclusion", "consistency"]) {
      const all = cases(kind);
      expect(all.length).toBeGreaterThan(90);
      expect(new Set(all.map(({ data }) => data["wantErr"]))).toEqual(new Set([true, false]));
    }
  });

  it.each(cases("inclusion"))("inclusion $file", ({ data }) => {
    const failed = outcome(() => verifyInclusion(hash(data["leafHash"]), Number(data["leafIdx"]), Number(data["treeSize"]), proof(data["proof"]), hash(data["root"])));
    expect(failed, String(data["desc"])).toBe(data["wantErr"]);
  });

  it.each(cases("consistency"))("consistency $file", ({ data }) => {
    const failed = outcome(() =>
      verifyConsistency(Number(data["size1"]), Number(data["size2"]), hash(data["root1"]), hash(data["root2"]), proof(data["proof"])),
    );
    expect(failed, String(data["desc"])).toBe(data["wantErr"]);
  });
});
