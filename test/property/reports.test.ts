/** Reports for a cluster: they count everything, list what is not clean, and are the same for the same verdicts. */
import { Verdict } from "@hullmark/proto/v1/common";
import { MAX_ENTRIES, reportsOf } from "@hullmark/verifier/core/fleet/reports";
import type { NodeRow, WorkloadRow } from "@hullmark/verifier/ports/rows";
import fc from "fast-check";
import { expect, test } from "vitest";

const workload = (containerName: string, verdict: Verdict, reason = ""): WorkloadRow =>
  ({
    ...{ containerName, verdict, nodeId: "n1", containerId: containerName, workload: "shop/cart", imageReference: "acme/cart" },
    ...{ openDrifts: 0, reasons: reason === "" ? [] : [{ code: reason, detail: "x\u001b[31m", sinceMs: undefined }] },
  }) as unknown as WorkloadRow;

test("each verdict is counted as what it is; what could not be judged never passes", () => {
  const rows = [Verdict.AFFIRMING, Verdict.WARNING, Verdict.CONTRAINDICATED, Verdict.UNKNOWN, Verdict.UNSPECIFIED].map((verdict, i) =>
    workload(`shop/p${i}/c`, verdict, "why"),
  );
  const report = reportsOf(rows, []).get("shop");
  expect(report?.summary).toEqual({ pass: 1, warn: 1, fail: 1, error: 2, skip: 0 });
  expect(report?.entries.map(({ result }) => result)).toEqual(["fail", "error", "error", "warn"]);
  expect(JSON.stringify(report)).not.toContain("\u001b");
  expect(report?.entries[0]?.message).toContain("\\x1b");
});

test("what is in no pod, or in a namespace that cannot be, is reported in none", () => {
  for (const name of ["web", "shop/web", "../x/y/z", "Shop/p/c", "/p/c"]) expect(reportsOf([workload(name, Verdict.CONTRAINDICATED)], []).size, name).toBe(0);
});

test("nodes are reported together; revoked ones are not", () => {
  const node = (name: string, verdict: Verdict, revokedAtMs?: number) => ({ id: name, name, verdict, reasons: [], revokedAtMs }) as unknown as NodeRow;
  const report = reportsOf([], [node("a", Verdict.AFFIRMING), node("b", Verdict.UNKNOWN), node("c", Verdict.UNKNOWN, 1)]).get("");
  expect(report).toMatchObject({ namespace: undefined, summary: { pass: 1, error: 1 }, entries: [{ subject: { kind: "Node", name: "b" } }] });
});

test("the order of rows is nothing new, the summary counts all, and entries are bounded", () => {
  const row = fc.record({ pod: fc.integer({ min: 0, max: 200 }), verdict: fc.constantFrom(1, 2, 3, 4) });
  fc.assert(
    fc.property(fc.uniqueArray(row, { selector: ({ pod }) => pod, maxLength: 200 }), fc.integer({ min: 0, max: 200 }), (rows, turn) => {
      const all = rows.map(({ pod, verdict }) => workload(`shop/p${pod}/c`, verdict as Verdict));
      const turned = [...all.slice(turn), ...all.slice(0, turn)];
      const report = reportsOf(all, []).get("shop");
      expect(reportsOf(turned, []).get("shop")).toEqual(report);
      const { pass = 0, fail = 0, warn = 0, error = 0 } = report?.summary ?? {};
      expect(pass + fail + warn + error).toBe(rows.length);
      expect(report?.entries.length ?? 0).toBe(Math.min(MAX_ENTRIES, fail + warn + error));
    }),
    { numRuns: 60 },
  );
});
