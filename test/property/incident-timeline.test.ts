/** The timeline says when what was found: never what a file holds now as found before it was written. */
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { DriftSchema } from "@hullmark/proto/v1/query";
import { timelineOf } from "hullmark/incident/timeline";
import { expect, it } from "vitest";

const T0 = Date.UTC(2026, 10, 27, 10);
const at = (ms: number) => timestampFromMs(T0 + ms);

function linesOf(kind: string, changedMs: number): readonly (readonly [number, string, string])[] {
  const drift = create(DriftSchema, {
    ...{ id: "D-7K2Q", kind, nodeName: "w-07", summary: "sha256 9f2c… → 41aa…" },
    ...{ changedAt: at(changedMs), committedAt: at(10), measuredAt: at(520) },
  });
  const members = [{ drift, actions: [], exceptions: [] }];
  return timelineOf({ members, assigned: undefined, closed: undefined }).map(({ atMs, what, detail }) => [atMs - T0, what, detail] as const);
}

it("tells what was found when it was found", () => {
  expect(linesOf("content", 0)).toEqual([
    [0, "changed", ""],
    [10, "found", "sha256 9f2c… → 41aa…"],
  ]);
});

it("tells what is there now as found after it was written, and of what was there before only that it was found", () => {
  expect(linesOf("content", 500)).toEqual([
    [10, "found", ""],
    [500, "changed", ""],
    [520, "found", "sha256 9f2c… → 41aa…"],
  ]);
});

it("tells of a silent node when it was heard for the last time", () => {
  expect(linesOf("silent", 0).map(([, what]) => what)).toEqual(["heard", "found"]);
});
