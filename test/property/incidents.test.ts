/** Incidents: one for the same thing on any number of nodes, the same whatever the order, the time and the machine; ended by the last of it, reopened by its return. */
import { type Decided, incidentId, incidentsOf, type Member, REOPEN_WINDOW_MS } from "@hullmark/verifier/core/incident/incident";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const T0 = 1_790_000_100_000;
const IMAGE = `sha256:${"4f".repeat(32)}`;

function member(over: Partial<Member> = {}): Member {
  return {
    ...{ driftId: "D-7K2Q", kind: "content", path: Buffer.from("/usr/bin/curl"), image: IMAGE, nodeName: "w-07", workload: "shop/cart", severity: 4 },
    ...{ state: "open", contained: false, foundAtMs: T0, resolvedAtMs: undefined, acknowledgedBy: "", acknowledgedAtMs: undefined },
    ...over,
  };
}

/** One drift on each of `count` nodes, found one after the other. */
const fleet = (count: number, over: (node: number) => Partial<Member> = () => ({})): Member[] =>
  Array.from({ length: count }, (_, node) =>
    member({ driftId: `D-${node}`, nodeName: `w-${String(node).padStart(3, "0")}`, foundAtMs: T0 + node, ...over(node) }),
  );

const only = (members: readonly Member[]) => {
  const incidents = incidentsOf(members);
  expect(incidents).toHaveLength(1);
  return incidents[0];
};

describe("incidents", () => {
  it("are one for the same image, path and kind on 300 nodes, as grave as the gravest, until the last is resolved", () => {
    const id = incidentId(member());
    expect(only(fleet(300, (node) => ({ severity: node === 150 ? 5 : 3 })))).toMatchObject({
      ...{ id, state: "open", severity: 5, firstSeenMs: T0, lastSeenMs: T0 + 299, resolvedAtMs: undefined, reopened: 0, workloads: ["shop/cart"] },
    });
    expect(only(fleet(300))?.nodes).toHaveLength(300);
    const resolved = (node: number) => ({ state: "resolved", resolvedAtMs: T0 + 1000 + node }) as const;
    expect(only(fleet(300, (node) => (node === 7 ? {} : resolved(node))))).toMatchObject({ id, state: "open", resolvedAtMs: undefined });
    expect(only(fleet(300, resolved))).toMatchObject({ id, state: "resolved", resolvedAtMs: T0 + 1299, reopened: 0 });
  });

  it("are told apart by image, path and kind, and by nothing else", () => {
    const others = [{ image: "sha256:00" }, { path: Buffer.from("/usr/bin/Curl") }, { path: Buffer.alloc(0) }, { kind: "setuid" }, { kind: "removed" }];
    expect(new Set([member(), ...others.map(member)].map(incidentId)).size).toBe(others.length + 1);
    // Of fields side by side each keeps its bounds.
    expect(incidentId(member({ image: "a", path: Buffer.from("b/c") }))).not.toBe(incidentId(member({ image: "ab", path: Buffer.from("/c") })));
    // Bytes that are not UTF-8 are bytes.
    expect(incidentId(member({ path: Buffer.from("2fff", "hex") }))).not.toBe(incidentId(member({ path: Buffer.from("2ffe", "hex") })));
    const same = [
      { severity: 1 },
      { nodeName: "w-1", workload: "x" },
      { driftId: "D-X", foundAtMs: 1 },
      { state: "acknowledged", acknowledgedBy: "eve" },
    ] as const;
    for (const each of same) expect(incidentId(member(each))).toBe(incidentId(member()));
  });

  it("have the owner whom they were given to, acknowledged or not, in that episode and no later one", () => {
    const given = (atMs: number, owner: string): Decided => ({ assigned: { by: "ada", reason: "r", atMs, logIndex: 7, owner }, closed: undefined });
    const of = (decided: Decided | undefined, over: Partial<Member> = {}) =>
      incidentsOf([member(over)], (id) => (id === incidentId(member()) ? decided : undefined))[0];
    const taken = { state: "acknowledged", acknowledgedBy: "eve", acknowledgedAtMs: T0 + 10 } as const;
    expect(of(given(T0 + 5, "bob"))).toMatchObject({ owner: "bob", assigned: { by: "ada", owner: "bob" }, state: "open" });
    expect(of(given(T0 + 5, "bob"), taken)).toMatchObject({ owner: "bob" });
    // Nobody's, until somebody acknowledges.
    expect(of(given(T0 + 20, ""), taken)).toMatchObject({ owner: "" });
    expect(of(given(T0 + 5, ""), taken)).toMatchObject({ owner: "eve" });
    // Before this episode began.
    expect(of(given(T0 - 1, "bob"), taken)).toMatchObject({ owner: "eve", assigned: undefined });
  });

  it("are done with when somebody says so of what is over; what comes after begins anew, and what stands is hidden by no word", () => {
    const closed = (atMs: number): Decided => ({ assigned: undefined, closed: { by: "ada", reason: "r", atMs, logIndex: 7 } });
    const over = member({ state: "resolved", resolvedAtMs: T0 + 100 });
    const back = member({ driftId: "D-2", foundAtMs: T0 + 200 });
    expect(incidentsOf([over], () => closed(T0 + 100))).toMatchObject([{ state: "resolved", closed: { by: "ada" } }]);
    expect(incidentsOf([over], () => closed(T0 + 99))).toMatchObject([{ state: "resolved", closed: undefined }]);
    expect(incidentsOf([over, back])).toMatchObject([{ reopened: 1, firstSeenMs: T0, members: [over, back] }]);
    expect(incidentsOf([over, back], () => closed(T0 + 150))).toMatchObject([{ state: "open", reopened: 0, firstSeenMs: T0 + 200, closed: undefined }]);
    // Whatever is closed when, each member that stands is in what is shown, and keeps it open.
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(1000), fc.option(fc.nat(1000))), { minLength: 1, maxLength: 8 }), fc.nat(2500), (spans, atMs) => {
        const members = spans.map(([from, lasts], at) =>
          member({ driftId: `D-${at}`, foundAtMs: T0 + from, ...(lasts !== null && { state: "resolved", resolvedAtMs: T0 + from + lasts }) }),
        );
        const [incident] = incidentsOf(members, () => closed(T0 + atMs));
        const standing = members.filter(({ state }) => state !== "resolved");
        expect(incident?.members).toEqual(expect.arrayContaining(standing));
        expect(incident?.state === "resolved").toBe(standing.length === 0);
        if (incident?.closed) expect(standing).toEqual([]);
      }),
    );
  });

  it("keep their ids for ever", () => {
    expect(incidentId(member())).toBe("I-4Z5NZVGWJ6S2DXM7");
  });

  it("are acknowledged when all that stands is, by whoever was last; a node more opens them again", () => {
    const acked = (node: number) =>
      ({ state: "acknowledged", acknowledgedBy: node === 1 ? "ben" : "ada", acknowledgedAtMs: T0 + (node === 1 ? 99 : 50) }) as const;
    expect(only(fleet(3, acked))).toMatchObject({ state: "acknowledged", owner: "ben" });
    expect(only([...fleet(3, acked), member({ driftId: "D-9", nodeName: "w-9" })])).toMatchObject({ state: "open", owner: "ben" });
    expect(only([...fleet(3, acked), member({ driftId: "D-9", state: "resolved", resolvedAtMs: T0 + 5 })])).toMatchObject({ state: "acknowledged" });
  });

  it("are contained when an action was carried out on every container in which they stand", () => {
    expect(only(fleet(2, () => ({ contained: true })))).toMatchObject({ state: "contained" });
    expect(only(fleet(2, (node) => ({ contained: node === 0 })))).toMatchObject({ state: "open" });
    expect(only(fleet(2, (node) => ({ contained: node === 0, state: "acknowledged", acknowledgedBy: "ada" })))).toMatchObject({ state: "acknowledged" });
  });

  it("are reopened by a return within the window, and new after a longer quiet", () => {
    const before = member({ state: "resolved", resolvedAtMs: T0 + 1000, severity: 5, acknowledgedBy: "ada" });
    const back = (afterMs: number) => member({ driftId: "D-2", foundAtMs: T0 + 1000 + afterMs });
    expect(only([back(REOPEN_WINDOW_MS), before])).toMatchObject({ state: "open", reopened: 1, firstSeenMs: T0, severity: 5, owner: "ada" });
    expect(only([back(REOPEN_WINDOW_MS + 1), before])).toMatchObject({ reopened: 0, firstSeenMs: T0 + 1001 + REOPEN_WINDOW_MS, severity: 4, owner: "" });
    expect(only([back(REOPEN_WINDOW_MS + 1), before])?.members.map(({ driftId }) => driftId)).toEqual(["D-2"]);
    // Found while another still stood: no return.
    expect(only([back(0), before])).toMatchObject({ reopened: 0 });
    expect(only([member({ driftId: "D-0" }), back(9 * REOPEN_WINDOW_MS), before])).toMatchObject({ reopened: 0, firstSeenMs: T0 });
  });

  it("hold every drift once, whatever the order", () => {
    const drift = fc.record({
      kind: fc.constantFrom("content", "added"),
      path: fc.constantFrom("/a", "/b").map((path) => Buffer.from(path)),
      nodeName: fc.constantFrom("n-1", "n-2", "n-3"),
      severity: fc.integer({ min: 1, max: 5 }),
      state: fc.constantFrom("open" as const, "acknowledged" as const, "resolved" as const),
      foundAtMs: fc.integer({ min: 0, max: 1000 }),
    });
    fc.assert(
      fc.property(fc.array(drift, { maxLength: 40 }), fc.integer(), (drifts, seed) => {
        const members = drifts.map((each, i) =>
          member({ ...each, driftId: `D-${i}`, resolvedAtMs: each.state === "resolved" ? each.foundAtMs + 10 : undefined }),
        );
        const incidents = incidentsOf(members);
        const shuffled = members.toSorted((a, b) => ((Number(a.driftId.slice(2)) * 7919 + seed) % 101) - ((Number(b.driftId.slice(2)) * 7919 + seed) % 101));
        expect(incidentsOf(shuffled)).toEqual(incidents);
        expect(incidents.flatMap((each) => each.members.map(({ driftId }) => driftId)).sort()).toEqual(members.map(({ driftId }) => driftId).sort());
        for (const { id, state, severity, members: own } of incidents) {
          expect(new Set(own.map(incidentId))).toEqual(new Set([id]));
          expect(state === "resolved").toBe(own.every((each) => each.state === "resolved"));
          expect(severity).toBe(Math.max(...own.map((each) => each.severity)));
        }
        const over = incidents.map(({ state }) => state === "resolved");
        expect(over).toEqual(over.toSorted((a, b) => Number(a) - Number(b)));
      }),
    );
  });
});
