/** What people decide on incidents: by what they saw, one after the other, bounded, and nothing of it where it could not be kept. */
import { EventBus } from "@hullmark/verifier/core/fleet/events";
import { DecidedIncidents, IncidentDecisions, sightOfIncident } from "@hullmark/verifier/core/incident/decisions";
import { incidentsOf } from "@hullmark/verifier/core/incident/incident";
import type { NumberedMember } from "@hullmark/verifier/core/incident/incident-book";
import type { IncidentRow } from "@hullmark/verifier/ports/rows";
import { expect, test } from "vitest";
import { T0 } from "./store-fixtures.ts";

const member = (number: number, over: Partial<NumberedMember> = {}): NumberedMember => ({
  ...{
    driftId: `D-${number}`,
    number,
    kind: "content",
    path: Buffer.from(`/f${number}`),
    image: "i",
    imageReference: "i",
    nodeName: "w",
    nodeId: "n",
    containerId: "c",
    summary: "s",
    containerName: "web-1",
  },
  ...{ workload: "web", severity: 4, state: "open", contained: false, foundAtMs: T0, resolvedAtMs: undefined, acknowledgedBy: "", acknowledgedAtMs: undefined },
  ...over,
});

function fixture(maxDecided?: number) {
  const events = new EventBus();
  const decided = new DecidedIncidents([], events);
  const members = new Map<number, NumberedMember>();
  const told: object[] = [];
  const disk = { broken: false };
  const committer = {
    submit: async ({
      entries,
      build,
    }: {
      entries: readonly { fields: object }[];
      build: (at: number) => { incidents: IncidentRow[]; removedIncidents: string[] };
    }) => {
      await new Promise(setImmediate);
      if (disk.broken) throw new Error("no disk");
      const commit = build(told.length);
      told.push(...entries.map(({ fields }) => fields));
      events.publish(commit);
    },
  };
  const all = () => incidentsOf([...members.values()], decided.of);
  const incidents = { readNow: async () => ({ incidents: all(), incomplete: false }) };
  const decisions = new IncidentDecisions({ committer: committer as never, incidents, decided, nowMs: () => T0 - 5000, ...(maxDecided && { maxDecided }) });
  const of = (number: number) => {
    const found = all().find(({ path }) => Buffer.from(path).toString() === `/f${number}`);
    if (!found) throw new Error(`no incident of /f${number}`);
    return found;
  };
  const deciding = (number: number) => ({ by: "ada", reason: "r", seen: sightOfIncident(of(number), decided.of(of(number).id)) });
  const give = (number: number, owner: string) => decisions.assign(of(number).id, owner, deciding(number));
  return { decided, members, told, disk, decisions, of, deciding, give };
}

test("two who saw the same decide one after the other: the second is refused; a clock that was set back takes nothing away", async () => {
  const { members, of, deciding, decisions, told } = fixture();
  members.set(1, member(1));
  const [seen, { id }] = [deciding(1), of(1)];
  const [first, second] = await Promise.allSettled([decisions.assign(id, "bob", seen), decisions.assign(id, "eve", seen)]);
  expect([first.status, second]).toMatchObject(["fulfilled", { reason: { code: "CHANGED" } }]);
  expect(of(1)).toMatchObject({ owner: "bob", assigned: { by: "ada", atMs: T0, logIndex: 0 } });
  expect(told).toEqual([{ action: "incident-assigned", incident: id, owner: "bob", by: "ada", reason: "r" }]);
  await expect(decisions.assign("I-0", "bob", seen)).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("what stands is not resolved by a word, and says what stands; what ended or returned since it was seen is refused", async () => {
  const { members, of, deciding, decisions } = fixture();
  members.set(1, member(1));
  await expect(decisions.resolve(of(1).id, deciding(1))).rejects.toMatchObject({
    code: "STANDS",
    message: "a drift stands: D-1",
    fix: expect.stringContaining("D-1"),
  });
  const before = deciding(1);
  members.set(1, member(1, { state: "resolved", resolvedAtMs: T0 + 9 }));
  await expect(decisions.resolve(of(1).id, before)).rejects.toMatchObject({ code: "CHANGED" });
  await decisions.resolve(of(1).id, deciding(1));
  expect(of(1)).toMatchObject({ state: "resolved", closed: { by: "ada", atMs: T0 + 9 } });
});

test("what could not be kept was not decided", async () => {
  const { members, of, give, disk, told } = fixture();
  members.set(1, member(1));
  disk.broken = true;
  await expect(give(1, "bob")).rejects.toThrow("no disk");
  expect([of(1).owner, told]).toEqual(["", []]);
  disk.broken = false;
  await give(1, "bob");
  expect(of(1).owner).toBe("bob");
});

test("of too many the oldest gives way of which nothing stands", async () => {
  const { members, of, give, decided } = fixture(2);
  for (const number of [1, 2, 3]) members.set(number, member(number, { foundAtMs: T0 + number }));
  await give(1, "a");
  await give(2, "b");
  await expect(give(3, "c")).rejects.toMatchObject({ code: "TOO_MANY" });
  // What is decided already may be decided anew.
  await give(1, "d");
  members.set(2, member(2, { foundAtMs: T0 + 2, state: "resolved", resolvedAtMs: T0 + 5 }));
  await give(3, "c");
  expect(decided.rows.map(({ id }) => id).sort()).toEqual([of(1).id, of(3).id].sort());
});
