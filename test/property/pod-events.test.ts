/** Events on pods: nothing that opened goes uncounted, and however much happens, little is written. */
import { hash } from "node:crypto";
import { ActorEntry, Severity } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import { BURST, MAX_PODS, type PodEvent, PodEvents, SERIES_MS, UPDATE_MS, WRITES_PER_SECOND } from "@hullmark/verifier/core/fleet/pod-events";
import type { ActionRow, DriftRow } from "@hullmark/verifier/ports/rows";
import fc from "fast-check";
import { expect, test } from "vitest";

const planned = (): PodEvents => new PodEvents((text) => hash("sha256", text));
const pod = (name: string) => ({ namespace: "shop", name, uid: `uid-${name}`, container: "web" });
function drift(id: string, state = DriftState.OPEN, severity = Severity.HIGH): DriftRow {
  const shown = { kind: "content", path: Buffer.from("/etc/x\n"), summary: "sha256 1 → 2", containerName: "shop/a/web" };
  return { id, state, severity, ...shown } as DriftRow;
}

/** Writes what is due, all at once. */
function write(events: PodEvents, nowMs: number): readonly PodEvent[] {
  const due = events.due(nowMs);
  for (const event of due) events.told(event, nowMs);
  return due;
}

test("an Event says who wrote by exec, and nothing where it was the container's own process", () => {
  const events = planned();
  const actor = { pid: 7, executable: "/bin/tar", located: true, uid: 0, containerId: "c", ancestry: [], enteredAtMs: 0, enteredFrom: ["runc"] };
  events.note({ ...drift("D-1"), actor: { ...actor, entry: ActorEntry.EXEC } }, pod("a"), 0);
  events.note({ ...drift("D-2"), actor: { ...actor, entry: ActorEntry.MAIN } }, pod("b"), 0);
  const [byExec, own] = write(events, 0).map(({ note }) => note);
  expect(byExec).toContain("(/bin/tar, started through exec at 1970-01-01T00:00:00.000Z, not by the container's own process)");
  expect(own).not.toContain("tar");
});

test("one drift is one Event, however often its row is written, and its end another", () => {
  const events = planned();
  events.note(drift("D-1"), pod("a"), 0);
  events.note(drift("D-1", DriftState.ACKNOWLEDGED), pod("a"), 10);
  expect(write(events, 1000)).toMatchObject([{ reason: "Drifted", count: 1, written: false, pod: { name: "a" } }]);
  events.note(drift("D-1"), pod("a"), 2000);
  expect(write(events, 100_000)).toEqual([]);
  events.note(drift("D-1", DriftState.RESOLVED), pod("a"), 101_000);
  expect(write(events, 102_000)).toMatchObject([{ reason: "DriftResolved", count: 1 }]);
});

test("what a name holds reaches no terminal as it is, and fits", () => {
  const events = planned();
  events.note({ ...drift("D-1"), path: Buffer.alloc(5000, "\u001b") }, pod("a"), 0);
  const note = write(events, 0)[0]?.note ?? "";
  expect(note).toContain("\\x1b");
  expect(note).not.toContain("\u001b");
  expect(Buffer.byteLength(note)).toBeLessThanOrEqual(1000);
});

test("more of the same is counted, not written anew, and not more often than twice a minute; a graver one is an Event of its own", () => {
  const events = planned();
  for (let i = 0; i < 100; i++) events.note(drift(`D-${i}`), pod("a"), i);
  const first = write(events, 1000);
  expect(first).toMatchObject([{ count: 100, written: false }]);
  events.note(drift("D-100"), pod("a"), 2000);
  expect(write(events, UPDATE_MS)).toEqual([]);
  expect(write(events, 1000 + UPDATE_MS)).toMatchObject([{ id: first[0]?.id, count: 101, written: true }]);
  events.note(drift("D-101", DriftState.OPEN, Severity.CRITICAL), pod("a"), UPDATE_MS + 2000);
  expect(write(events, UPDATE_MS + 3000)).toMatchObject([{ count: 1, written: false }]);
  events.note(drift("D-102", DriftState.OPEN, Severity.LOW), pod("a"), UPDATE_MS + 2000 + SERIES_MS);
  expect(write(events, UPDATE_MS + 3000 + SERIES_MS)).toMatchObject([{ count: 1, written: false }]);
});

test("what is not answered comes again; of a pod that is gone nothing more is said", () => {
  const events = planned();
  events.note(drift("D-1"), pod("a"), 0);
  expect(events.due(0)).toEqual(events.due(1000));
  write(events, 1000);
  events.note(drift("D-1", DriftState.RESOLVED), undefined, 2000);
  expect(write(events, 3000)).toEqual([]);
});

test("no pod, no Event; too many pods are dropped and counted", () => {
  const events = planned();
  events.note(drift("D-0"), undefined, 0);
  expect(events.due(0)).toEqual([]);
  for (let i = 0; i <= MAX_PODS; i++) events.note(drift(`D-${i + 1}`), pod(`p-${i}`), 0);
  expect(events.dropped).toBe(1);
  expect(events.due(0)).toHaveLength(BURST);
});

test("every drift that opened is in a count, and writes keep to their rate", () => {
  const step = fc.record({
    pod: fc.integer({ min: 0, max: 80 }),
    severity: fc.constantFrom(1, 3, 5),
    close: fc.boolean(),
    pauseMs: fc.integer({ min: 0, max: 20_000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const events = planned();
      const counts = new Map<string, number>();
      let [nowMs, writes] = [0, 0];
      const round = (): void => {
        for (const event of write(events, nowMs)) {
          writes++;
          if (event.reason === "Drifted") counts.set(event.id, event.count);
        }
        expect(writes).toBeLessThanOrEqual(BURST + (nowMs / 1000) * WRITES_PER_SECOND);
      };
      round();
      for (const [index, { pod: where, severity, close, pauseMs }] of steps.entries()) {
        events.note(drift(`D-${index}`, DriftState.OPEN, severity), pod(`p-${where}`), nowMs);
        nowMs += pauseMs;
        round();
        // Told before it ends: what came and went between two looks may stay unsaid.
        if (close && steps.length < BURST) events.note(drift(`D-${index}`, DriftState.RESOLVED, severity), pod(`p-${where}`), nowMs);
      }
      for (let i = 0; i < 20; i++) {
        nowMs += UPDATE_MS;
        round();
      }
      const counted = [...counts.values()].reduce((sum, count) => sum + count, 0);
      expect(counted).toBeLessThanOrEqual(steps.length);
      if (steps.every(({ close }) => !close)) expect(counted).toBe(steps.length);
    }),
    { numRuns: 100 },
  );
});

test("a rollback that the verifier refuses is one Event on its pod, written once, with the entry of the log; other refusals are their actuator's to tell", () => {
  const events = planned();
  const refused = {
    ...{ id: "A-1", driftId: "D-1", driftLogIndex: 5, logIndex: 7, kind: ActionKind.ROLLBACK, state: ActionState.REFUSED, reason: "higher-risk" },
    ...{ detail: "r.example/web\n has vulnerabilities of 34", pod: { ...pod("a"), cluster: "prod", imageDigests: [] } },
  } as unknown as ActionRow;
  events.noteRefusal(refused, 0);
  events.noteRefusal({ ...refused, id: "A-2", reason: "rollback-never" }, 0);
  events.noteRefusal({ ...refused, id: "A-3", pod: undefined }, 0);
  const note = "a is of an image that is not trusted, and is not rolled back: higher-risk: r.example/web\\x0a has vulnerabilities of 34 (A-1, D-1, log 7)";
  const about = { id: "A-1", logIndex: 7, driftId: "D-1", driftLogIndex: 5 };
  const due = [{ reason: "RollbackRefused", note, count: 1, written: false, pod: pod("a"), about }];
  // What is not answered comes again.
  expect(events.due(1000)).toMatchObject(due);
  expect(write(events, 2000)).toMatchObject(due);
  expect(write(events, 3000)).toEqual([]);
});

test("however many rollbacks are refused, no more Events are written than the rate allows", () => {
  const events = planned();
  for (let i = 0; i < BURST + 10; i++)
    events.noteRefusal(
      {
        ...{ id: `A-${i}`, driftId: "D-1", logIndex: i, kind: ActionKind.ROLLBACK, state: ActionState.REFUSED, reason: "higher-risk", detail: "" },
        pod: pod(`p${i}`),
      } as unknown as ActionRow,
      0,
    );
  for (let i = 0; i < 10; i++) events.note(drift(`D-${i}`), pod(`q${i}`), 0);
  expect(write(events, 0)).toHaveLength(BURST);
});
