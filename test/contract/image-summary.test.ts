import { create } from "@bufbuild/protobuf";
import { ProvenanceStatus, WorkloadSchema } from "@hullmark/proto/v1/query";
import { summaryOf } from "hullmark/host/image-summary";
import { expect, test } from "vitest";

const { SIGNED, UNSIGNED, UNKNOWN } = ProvenanceStatus;
const workload = (configDigest: string, status: ProvenanceStatus, code?: string) =>
  create(WorkloadSchema, { configDigest, imageReference: configDigest, provenance: { status }, reasons: code === undefined ? [] : [{ code, detail: "why" }] });

test("an image whose signatures are still being looked up is not called unsigned", () => {
  expect(summaryOf([workload("a", SIGNED), workload("b", UNSIGNED), workload("c", UNKNOWN)])).toEqual(["✓ 3 images: 1 signed, 1 unsigned, 1 not known yet"]);
  expect(summaryOf([workload("a", SIGNED), workload("b", UNSIGNED), workload("b", UNSIGNED)])).toEqual(["✓ 2 images: 1 signed, 1 unsigned"]);
});

test("one that nothing can be compared with is counted once, and named", () => {
  expect(summaryOf([workload("a", UNSIGNED), workload("b", UNKNOWN, "no-reference")])).toEqual([
    "! 2 images: 0 signed, 1 unsigned, 1 no reference",
    "  b: why",
  ]);
});
