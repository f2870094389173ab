/** What a drift writes into the log, whatever its container does: each state, and of content alone so few that nothing is flooded. */
import { Severity } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { entryDue, FIRST_PAUSE_MS, MAX_PAUSE_MS } from "@hullmark/verifier/core/fleet/drift-entries";
import type { DriftRow } from "@hullmark/verifier/ports/rows";
import fc from "fast-check";
import { expect, test } from "vitest";

const START_MS = 1_790_000_000_000;
const DAY_MS = 86_400_000;

function row(content: string, change: Partial<DriftRow> = {}): DriftRow {
  const differences = [{ field: "sha256", expected: "0", observed: content }];
  return {
    id: "D-1",
    kind: "content",
    place: "upper",
    state: DriftState.OPEN,
    severity: Severity.MEDIUM,
    summary: content,
    differences,
    ...change,
  } as DriftRow;
}

/** Each row in its turn, with what is known of the entries of the one before it. */
function entriesOf(rows: readonly (readonly [atMs: number, row: DriftRow])[]): { readonly atMs: number; readonly row: DriftRow }[] {
  let before: DriftRow | undefined;
  const written: { atMs: number; row: DriftRow }[] = [];
  for (const [atMs, each] of rows) {
    const entries = entryDue(each, before, atMs);
    before = { ...each, entries: entries ?? before?.entries };
    if (entries) written.push({ atMs, row: before });
  }
  return written;
}

test("a file that is written every ten seconds for a month makes fewer than 50 entries, the first change at once, and each at most a day after the one before", () => {
  const changes = Array.from({ length: (30 * DAY_MS) / 10_000 }, (_, at) => [START_MS + at * 10_000, row(String(at))] as const);
  const written = entriesOf(changes);
  expect(written.length).toBeLessThan(50);
  expect(written[1]?.atMs).toBe(START_MS + 10_000);
  const pauses = written.slice(1).map(({ atMs }, at) => atMs - (written[at]?.atMs ?? 0));
  expect(Math.min(...pauses.slice(1))).toBeGreaterThanOrEqual(FIRST_PAUSE_MS);
  expect(Math.max(...pauses)).toBeLessThanOrEqual(MAX_PAUSE_MS + 10_000);
});

const moment = fc.record({
  afterMs: fc.integer({ min: 0, max: 2 * DAY_MS }),
  content: fc.constantFrom("a", "b", "c"),
  state: fc.constantFrom(DriftState.OPEN, DriftState.ACKNOWLEDGED, DriftState.NOTICE),
  severity: fc.constantFrom(Severity.MEDIUM, Severity.HIGH),
});

test("each state, kind and severity has its entry, entries are counted without a gap, and none says what the one before said", () => {
  fc.assert(
    fc.property(fc.array(moment, { minLength: 1, maxLength: 60 }), (moments) => {
      let atMs = START_MS;
      const rows = moments.map(({ afterMs, content, state, severity }) => {
        atMs += afterMs;
        return [atMs, row(content, { state, severity })] as const;
      });
      const written = entriesOf(rows);
      expect(written.map(({ row: { entries } }) => entries?.count)).toEqual(written.map((_, at) => at + 1));
      const gist = ({ state, severity, summary }: DriftRow): string => `${state} ${severity} ${summary}`;
      for (const [at, { row: each }] of written.entries()) if (at > 0) expect(gist(each)).not.toBe(gist(written[at - 1]?.row as DriftRow));
      const turns = rows.filter(([, { state, severity }], at) => at === 0 || state !== rows[at - 1]?.[1].state || severity !== rows[at - 1]?.[1].severity);
      for (const [turnMs, turn] of turns)
        expect(written).toContainEqual(expect.objectContaining({ atMs: turnMs, row: expect.objectContaining({ state: turn.state }) }));
    }),
  );
});

test("of a row from before entries were counted, changed content has one, and the count stays unknown", () => {
  expect(entryDue(row("a"), row("a"), START_MS)).toBeUndefined();
  expect(entryDue(row("b"), row("a"), START_MS)).toMatchObject({ count: undefined, ofContent: 1 });
  const resolved = entryDue(row("a", { state: DriftState.RESOLVED }), row("a"), START_MS);
  expect(resolved).toMatchObject({ count: undefined, ofContent: 0 });
});
