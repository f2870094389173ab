import { PendingTable } from "@hullmark/verifier/core/enrolment/pending";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

const LIMITS = { maxPending: 24, maxPendingPerNode: 8 };
const LIFE_MS = 60_000;
const entry = (nodeId: string, network: string, expiresAtMs = LIFE_MS) => ({ nodeId, network, expiresAtMs });
type Entry = ReturnType<typeof entry>;

describe("enrolments under way", () => {
  test("strangers of fewer networks than a node has places leave the node its own, whatever they begin and in which order", () => {
    const begins = fc.array(fc.record({ network: fc.integer({ min: 1, max: LIMITS.maxPendingPerNode - 1 }), node: fc.constantFrom("n", "m", "o") }), {
      maxLength: 200,
    });
    fc.assert(
      fc.property(begins, begins, (before, after) => {
        const table = new PendingTable<Entry>(LIMITS);
        const add = ({ network, node }: { network: number; node: string }, i: number): void => table.add(`${i}`, entry(node, `${network}`), 0);
        for (const [i, each] of before.entries()) add(each, i);
        table.add("own", entry("n", "own"), 0);
        for (const [i, each] of after.entries()) add(each, before.length + i);
        expect(table.size).toBeLessThanOrEqual(LIMITS.maxPending);
        expect(table.take("own", 1)).toMatchObject({ network: "own" });
      }),
    );
  });

  test("against as many networks as there are places the newest comes in all the same, and the oldest goes", () => {
    const table = new PendingTable<Entry>(LIMITS);
    for (let i = 0; i < 8; i++) table.add(`${i}`, entry("n", `${i}`), 0);
    table.add("own", entry("n", "own"), 0);
    expect(table.take("0", 1)).toBe("unknown");
    expect(table.take("own", 1)).toMatchObject({ network: "own" });
    expect(table.take("own", 1)).toBe("unknown");
  });

  test("one that begins over and over keeps its newest", () => {
    const table = new PendingTable<Entry>(LIMITS);
    for (let i = 0; i < 20; i++) table.add(`${i}`, entry("n", "a"), 0);
    expect(table.size).toBe(8);
    for (let i = 0; i < 20; i++) expect(table.take(`${i}`, 1)).toEqual(i < 12 ? "unknown" : entry("n", "a"));
    expect(table.size).toBe(0);
  });

  test("the whole has its bound, and time frees all", () => {
    const table = new PendingTable<Entry>(LIMITS);
    for (let i = 0; i < 100; i++) table.add(`${i}`, entry(`n${i}`, `${i % 3}`), 0);
    expect(table.size).toBe(24);
    expect(table.take("99", LIFE_MS)).toBe("expired");
    table.add("late", entry("n", "a", 2 * LIFE_MS), LIFE_MS);
    expect(table.size).toBe(1);
  });
});
