/** The order of nodes: what is wrong, then what cannot be told, then what is well. */
import { Verdict } from "@hullmark/proto/v1/common";
import { type NodeStanding, worstFirst } from "@hullmark/verifier/core/fleet/worst-first";
import fc from "fast-check";
import { expect, test } from "vitest";

const node = (name: string, verdict: Verdict, more: Partial<NodeStanding> = {}): NodeStanding => ({
  ...{ id: `id-${name}`, name, verdict, revoked: false, drifted: 0, lastSeenMs: 1_000 },
  ...more,
});

const ORDERED = [
  node("bad", Verdict.CONTRAINDICATED),
  node("drifts-most", Verdict.AFFIRMING, { drifted: 3 }),
  node("drifts", Verdict.UNKNOWN, { drifted: 1 }),
  node("never-seen", Verdict.UNKNOWN, { lastSeenMs: undefined }),
  node("long-unseen", Verdict.UNKNOWN, { lastSeenMs: 10 }),
  node("unseen", Verdict.UNSPECIFIED, { lastSeenMs: 900 }),
  node("warned", Verdict.WARNING),
  node("well-1", Verdict.AFFIRMING, { lastSeenMs: 2_000 }),
  node("well-2", Verdict.AFFIRMING, { lastSeenMs: 500 }),
  node("well-2", Verdict.AFFIRMING, { id: "id-z" }),
  node("revoked", Verdict.CONTRAINDICATED, { revoked: true, drifted: 9 }),
];

test("the worst first, however they come", () => {
  fc.assert(
    fc.property(fc.shuffledSubarray(ORDERED), (nodes) => {
      const sorted = nodes.toSorted(worstFirst);
      expect(sorted).toEqual(ORDERED.filter((each) => nodes.includes(each)));
    }),
  );
});
