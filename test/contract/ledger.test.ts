/** The ledger of an actuator on a disk that is full, with clocks that are wrong, for years, and when two processes have it. */
import * as fs from "node:fs";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileLedger } from "@hullmark/actuator/adapters/file-ledger/file-ledger";
import type { LedgerEntry } from "@hullmark/actuator/ports/ledger";
import { ActionKind, Outcome } from "@hullmark/proto/v1/response";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

/** Bytes that the disk still takes; undefined: as many as there are. */
let room: number | undefined;
/** Whether what was written can be taken back. */
let truncates = true;
/** What happens just before a file is put in another's place, once. */
let meanwhile: (() => void) | undefined;

vi.mock("node:fs", async (original) => {
  const real = await original<typeof fs>();
  return {
    ...real,
    writeSync: (fd: number, bytes: Buffer) => {
      if (room === undefined) return real.writeSync(fd, bytes);
      if (room === 0) throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
      const written = real.writeSync(fd, bytes.subarray(0, room));
      room -= written;
      return written;
    },
    renameSync: (from: string, to: string) => {
      const now = meanwhile;
      meanwhile = undefined;
      now?.();
      real.renameSync(from, to);
    },
    ftruncateSync: (fd: number, length: number) => {
      if (!truncates) throw Object.assign(new Error("input/output error"), { code: "EIO" });
      real.ftruncateSync(fd, length);
    },
  };
});

const T0 = 1_700_000_000_000;
const DAY_MS = 86_400_000;
const LIFETIME_MS = 300_000;
const DONE = { outcome: Outcome.DONE, reason: "", detail: "", newContainerId: "" };
const REFUSED = { outcome: Outcome.REFUSED, reason: "breaker", detail: "", newContainerId: "" };

let directory: string;
let opened: FileLedger[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hullmark-ledger-"));
  opened = [];
  [room, truncates, meanwhile] = [undefined, true, undefined];
});
afterEach(() => {
  for (const each of opened) each.close();
  rmSync(directory, { recursive: true });
});

function open(nowMs = T0): FileLedger {
  const ledger = new FileLedger(directory, nowMs);
  opened.push(ledger);
  return ledger;
}

const idOf = (index: number): string => index.toString(16).padStart(32, "0");

function entry(index: number, receivedAtMs: number, more: Partial<LedgerEntry> = {}): LedgerEntry {
  return {
    ...{ intentId: idOf(index), actionId: "A-7K2Q", kind: ActionKind.STOP, containerId: "c".repeat(64), name: "web" },
    ...{ restartPolicy: { name: "no", maximumRetryCount: 0 }, receivedAtMs, expiresAtMs: receivedAtMs + LIFETIME_MS, settled: DONE, reported: true },
    ...more,
  };
}

const ids = (ledger: FileLedger): string[] => ledger.all().map(({ intentId }) => intentId);

test.each([[true], [false]])("a line for which the disk has no room is none, whether it can be taken back at once (%s) or not", (atOnce) => {
  const ledger = open();
  ledger.add(entry(1, T0, { settled: undefined, reported: false }));
  [room, truncates] = [40, atOnce];
  expect(() => ledger.add(entry(2, T0))).toThrow(expect.objectContaining({ code: atOnce ? "ENOSPC" : "EIO" }));
  expect(() => ledger.settle(idOf(1), DONE)).toThrow();
  [room, truncates] = [undefined, true];
  ledger.settle(idOf(1), DONE);
  ledger.add(entry(3, T0));
  expect(ids(ledger)).toEqual([idOf(1), idOf(3)]);
  const again = open();
  expect(ids(again)).toEqual([idOf(1), idOf(3)]);
  expect(again.get(idOf(1))?.settled).toEqual(DONE);
});

test("a clock that is days ahead at a start forgets nothing that can still be alive once it is put right", () => {
  const ledger = open();
  ledger.add(entry(1, T0));
  ledger.add(entry(2, T0 + 1000));
  open(T0 + 365 * DAY_MS);
  expect(ids(open(T0 + 2000))).toEqual([idOf(1), idOf(2)]);
});

test("what is old is forgotten at the next start, by what was taken last", () => {
  const ledger = open();
  ledger.add(entry(1, T0));
  ledger.add(entry(2, T0 + 3 * DAY_MS));
  expect(ids(open(T0 + 3 * DAY_MS))).toEqual([idOf(2)]);
});

test("it does not fill up in years, nor by what is asked for and refused: that is forgotten once its time is over", () => {
  const ledger = open();
  const all = Array.from({ length: 10_000 }, (_, index) => entry(index, T0 + index, { settled: index % 2 === 0 ? DONE : REFUSED }));
  // Not one by one: each is synced to the disk.
  fs.writeFileSync(join(directory, "ledger.jsonl"), all.map((add) => `${JSON.stringify({ add })}\n`).join(""));
  const full = open(T0);
  ledger.close();
  opened.shift();
  const soonMs = T0 + 20_000;
  expect(() => full.add(entry(10_000, soonMs))).toThrow(expect.objectContaining({ code: "LEDGER_FULL" }));
  const laterMs = T0 + LIFETIME_MS + 20_000;
  full.add(entry(10_001, laterMs));
  expect(full.all()).toHaveLength(5001);
  expect(full.get(idOf(0))).toBeDefined();
  expect(full.get(idOf(1))).toBeUndefined();
  // What was done is known for two days.
  expect(open(laterMs).all()).toEqual(full.all());
}, 60_000);

test("what was done is forgotten after two days while it runs, too", () => {
  const all = Array.from({ length: 10_000 }, (_, index) => entry(index, T0 + index));
  fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(join(directory, "ledger.jsonl"), all.map((add) => `${JSON.stringify({ add })}\n`).join(""));
  const full = open(T0);
  const laterMs = T0 + 3 * DAY_MS;
  full.add(entry(10_000, laterMs));
  expect(ids(full)).toEqual([idOf(10_000)]);
  expect(readFileSync(join(directory, "ledger.jsonl"), "utf8").split("\n")).toHaveLength(2);
}, 60_000);

test("of two that have opened it the first may do nothing any more: neither would know of what the other does", () => {
  const first = open();
  first.add(entry(1, T0, { settled: undefined, reported: false }));
  const second = open();
  expect(ids(second)).toEqual([idOf(1)]);
  expect(() => first.mustBeOurs()).toThrow(expect.objectContaining({ code: "LEDGER_TAKEN" }));
  second.mustBeOurs();
  expect(() => first.add(entry(2, T0))).toThrow(expect.objectContaining({ code: "LEDGER_TAKEN" }));
  expect(() => first.settle(idOf(1), DONE)).toThrow(expect.objectContaining({ code: "LEDGER_TAKEN" }));
  second.add(entry(2, T0));
  expect(ids(open())).toEqual([idOf(1), idOf(2)]);
});

test("what the first began while the second was opening it is known to the second", () => {
  const first = open();
  first.add(entry(1, T0));
  meanwhile = () => first.add(entry(2, T0, { settled: undefined, reported: false }));
  const second = open();
  expect(ids(second)).toEqual([idOf(1), idOf(2)]);
  expect(ids(open())).toEqual([idOf(1), idOf(2)]);
});

/** As many as there is room for, each refused and over at its end. */
function fill(): void {
  const all = Array.from({ length: 10_000 }, (_, index) => entry(index, T0 + index, { settled: index % 2 === 0 ? DONE : REFUSED }));
  fs.writeFileSync(join(directory, "ledger.jsonl"), all.map((add) => `${JSON.stringify({ add })}\n`).join(""));
}

test("where the disk has no room to write it anew, what is done next is still known after a restart", () => {
  fill();
  const full = open(T0);
  const laterMs = T0 + LIFETIME_MS + 20_000;
  room = 40;
  expect(() => full.add(entry(10_000, laterMs))).toThrow(expect.objectContaining({ code: "ENOSPC" }));
  room = undefined;
  full.add(entry(10_001, laterMs, { settled: undefined, reported: false }));
  expect(open(laterMs).get(idOf(10_001))).toBeDefined();
}, 60_000);

test("one that another has taken, and that is full, does not write over the other's", () => {
  fill();
  const first = open(T0);
  const laterMs = T0 + LIFETIME_MS + 20_000;
  const second = open(laterMs);
  second.add(entry(10_000, laterMs));
  expect(() => first.add(entry(10_001, laterMs))).toThrow(expect.objectContaining({ code: "LEDGER_TAKEN" }));
  second.add(entry(10_002, laterMs));
  const third = open(laterMs);
  expect([third.get(idOf(10_000)), third.get(idOf(10_001)), third.get(idOf(10_002))].map((each) => each !== undefined)).toEqual([true, false, true]);
}, 60_000);
