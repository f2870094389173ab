/** What people read at the command line. */
import { create } from "@bufbuild/protobuf";
import { Severity } from "@hullmark/proto/v1/common";
import { DriftSchema, DriftState } from "@hullmark/proto/v1/query";
import { showDrift } from "hullmark/output/drift-page";
import { pathWord } from "hullmark/output/words";
import { expect, test } from "vitest";

test("a long path keeps its beginning and its end, on one line", () => {
  expect(pathWord(Buffer.from("/usr/bin/curl"), 60)).toBe("/usr/bin/curl");
  const long = pathWord(Buffer.from(`/srv/${"d/".repeat(100)}leaf\n`), 60);
  expect(long).toHaveLength(60);
  expect(long).toMatch(/^\/srv\/(d\/)+…(\/?d)+\/leaf\\x0a$/);
});

test("a drift's page says each thing once, and its severity in a word", () => {
  const drift = create(DriftSchema, {
    id: "D-7K2Q",
    kind: "content",
    severity: Severity.CRITICAL,
    state: DriftState.OPEN,
    path: Buffer.from("/usr/bin/curl"),
    summary: "sha256 9f2c… → 41aa…, size 6 → 9",
    differences: [
      { field: "sha256", expected: "9f2cd0", observed: "41aa07" },
      { field: "size", expected: "6", observed: "9" },
    ],
    origin: { place: "layer", layerIndex: 2, diffId: "sha256:77ab", history: "RUN apt-get install curl" },
  });
  const lines = showDrift(drift).split("\n");
  expect(lines[0]).toBe("CRITICAL  image layer altered on the node  (content, open)");
  expect(lines.slice(3, 6)).toEqual([
    "What    sha256 9f2c… → 41aa…, size 6 → 9",
    "        sha256 9f2cd0 → 41aa07",
    'From    layer 2 "RUN apt-get install curl" (sha256:77ab)',
  ]);
});
