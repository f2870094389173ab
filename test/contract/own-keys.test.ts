/** Which of the verifier's own keys are due, and that they change one at a time, each told to the log. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EarKeys } from "@hullmark/verifier/adapters/ear-keys/index";
import { OwnKeys } from "@hullmark/verifier/core/keys/own-keys";
import { earKey } from "@hullmark/verifier/own-keys";
import type { OwnKey, OwnKeyFact } from "@hullmark/verifier/ports/own-key";
import { expect, test } from "vitest";

const DAY_MS = 86_400_000;

function fixture(other?: { readonly key: OwnKey; readonly nowMs: () => number }) {
  const clock = { nowMs: 100 * DAY_MS };
  const told: unknown[] = [];
  let facts: OwnKeyFact[] = [{ id: "a", madeAtMs: clock.nowMs, state: "in-use" }];
  let made = 0;
  const key: OwnKey = {
    name: "ca",
    facts: () => facts,
    rotate: async () => {
      await Promise.resolve();
      facts = [{ id: `new-${++made}`, madeAtMs: clock.nowMs, state: "in-use" }, ...facts.map((fact) => ({ ...fact, state: "accepted" as const }))];
    },
    retire: async () => {
      facts = facts.slice(0, 1);
    },
  };
  const ready = Promise.withResolvers<void>();
  const committer = { submit: async ({ entries }: { entries: readonly { fields: object }[] }) => void told.push(...entries.map(({ fields }) => fields)) };
  const keys = new OwnKeys({
    ...{ keys: [other?.key ?? key], committer: committer as never, nowMs: other?.nowMs ?? (() => clock.nowMs), ready: ready.promise },
    ...{
      maxAgeDays: { ca: 30, log: 30, ear: 30, nonce: 30, intent: 30 },
      overlapDays: 7,
      wasTaken: () => made === 2,
      changed: async (...what: readonly string[]) => void told.push(what.join(" ")),
    },
  });
  return { clock, keys, told, ready: ready.resolve };
}

test("a key is due at its age, and what gave way when its overlap is over", async () => {
  const { clock, keys, ready } = fixture();
  ready();
  expect(keys.claims).toEqual([]);
  clock.nowMs += 30 * DAY_MS;
  expect(keys.claims.map(({ code, detail }) => `${code}: ${detail}`)).toEqual(["key-old: the key a of ca is 30 days old: hullmark keys rotate ca"]);
  await keys.rotate("ca", "ada", "old");
  expect(keys.claims).toEqual([]);
  clock.nowMs += 7 * DAY_MS - 1;
  expect(keys.claims).toEqual([]);
  clock.nowMs += 1;
  expect(keys.claims.map(({ code }) => code)).toEqual(["key-overlap"]);
  await keys.retire("ca", "ada", "done");
  expect(keys.claims).toEqual([]);
});

test("the key of results, which gives way by itself, is due where it could not", async () => {
  const directory = mkdtempSync(join(tmpdir(), "hullmark-ear-age-"));
  let nowMs = 100 * DAY_MS;
  try {
    // A verifier counts a day more than these sign.
    const ear = await EarKeys.open({ directory, keyDays: 29, clock: { nowMs: () => nowMs } });
    const { keys } = fixture({ key: earKey(ear), nowMs: () => nowMs });
    nowMs += 30 * DAY_MS - 1;
    expect(keys.claims).toEqual([]);
    nowMs += 1;
    expect(keys.claims.map(({ code, detail }) => `${code} ${detail.replace(/[0-9a-f]{16}/, "ID")}`)).toEqual([
      "key-old the key ID of ear is 30 days old: hullmark keys rotate ear",
    ]);
    await ear.rotate();
    expect(keys.claims).toEqual([]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("of two who rotate at once the second is refused; each change is told with who and why", async () => {
  const { keys, told, ready } = fixture();
  const both = [keys.rotate("ca", "ada", "first"), keys.rotate("ca", "bob", "second")];
  expect(keys.inUse()).toEqual({ ca: "a" });
  ready();
  const outcomes = await Promise.allSettled(both);
  expect(outcomes).toMatchObject([
    { status: "fulfilled", value: "new-1" },
    { status: "rejected", reason: { code: "OVERLAP" } },
  ]);
  expect(await keys.retire("ca", "ada", "moved")).toEqual(["a"]);
  await keys.rotate("ca", "ada", "from a ceremony");
  expect(told).toEqual([
    { action: "key-rotated", key: "ca", id: "new-1", before: "a", taken: false, by: "ada", reason: "first" },
    "ca rotated",
    { action: "key-retired", key: "ca", id: "a", by: "ada", reason: "moved" },
    "ca retired",
    { action: "key-rotated", key: "ca", id: "new-2", before: "new-1", taken: true, by: "ada", reason: "from a ceremony" },
    "ca rotated",
  ]);
});
