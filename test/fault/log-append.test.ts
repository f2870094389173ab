/** The log when its storage fails, fails after having written, or the process dies between two steps: never two histories, never a lost entry, always in order afterwards. */
import { type PlannedAppend, parseVerifierKey, TransparencyLog, verifyLog } from "@hullmark/verifier/core/transparency/index";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemoryLogStore } from "../fakes/memory-log-store.ts";
import { testNoteSigner } from "../fakes/note-signer.ts";

const signer = testNoteSigner();
const key = parseVerifierKey(signer.verifierKey);

type Step =
  | { readonly do: "append"; readonly count: number; readonly fault: "none" | "failed" | "failed-but-persisted" }
  | { readonly do: "publish" }
  | { readonly do: "crash" }
  | { readonly do: "crash-after-commit"; readonly count: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant("append" as const),
    count: fc.integer({ min: 0, max: 300 }),
    fault: fc.constantFrom("none" as const, "failed" as const, "failed-but-persisted" as const),
  }),
  fc.record({ do: fc.constant("publish" as const) }),
  fc.record({ do: fc.constant("crash" as const) }),
  fc.record({ do: fc.constant("crash-after-commit" as const), count: fc.integer({ min: 1, max: 300 }) }),
);

describe("the log under faults", () => {
  it("keeps exactly what was acknowledged or persisted, and each checkpoint is a prefix of all later ones", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const store = new MemoryLogStore();
        let log = await TransparencyLog.open(store, signer);
        const written: string[] = [];
        const notes: string[] = [];
        let next = 0;
        const fresh = (count: number) => Array.from({ length: count }, () => Buffer.from(`e${next++}`));
        for (const action of steps) {
          if (action.do === "append") {
            const entries = fresh(action.count);
            // Appending nothing asks nothing of the storage.
            const fault = action.count === 0 ? "none" : action.fault;
            if (fault !== "none") store.nextFault = fault;
            const result = await log.append(entries).catch((error: unknown) => error);
            if (fault === "failed") expect(result).toMatchObject({ code: "LOG_UNAVAILABLE" });
            else expect(result).toMatchObject({ firstIndex: written.length, size: written.length + action.count });
            if (fault !== "failed") written.push(...entries.map(String));
          } else if (action.do === "publish") {
            notes.push((await log.publish()).note);
          } else {
            if (action.do === "crash-after-commit") {
              const planned: PlannedAppend = log.plan(fresh(action.count));
              await store.append(planned.append);
              written.push(...planned.append.entries.map(String));
            }
            log = await TransparencyLog.open(store, signer);
          }
          expect(store.entries.map((entry) => Buffer.from(entry).toString())).toEqual(written);
        }
        notes.push((await log.publish()).note);
        for (const note of notes) expect(await verifyLog(store, key, note)).toMatchObject({ verdict: "ok", entries: written.length });
      }),
      { numRuns: 60 },
    );
  });

  it("plans again when another writer was faster", async () => {
    const store = new MemoryLogStore();
    const [a, b] = [await TransparencyLog.open(store, signer), await TransparencyLog.open(store, signer)];
    const results = await Promise.all([a.append([Buffer.from("a1")]), b.append([Buffer.from("b1"), Buffer.from("b2")]), a.append([Buffer.from("a2")])]);
    const ranges = results.toSorted((one, other) => one.firstIndex - other.firstIndex);
    expect(ranges.map(({ firstIndex }) => firstIndex)).toEqual([0, ...ranges.slice(0, 2).map(({ size }) => size)]);
    await a.reload();
    await a.publish();
    expect(await verifyLog(store, key)).toMatchObject({ verdict: "ok", entries: 4 });
  });

  it("refuses to continue a log that lost or changed what its own checkpoint says", async () => {
    const build = async () => {
      const store = new MemoryLogStore();
      const log = await TransparencyLog.open(store, signer);
      await log.append(Array.from({ length: 300 }, (_, i) => Buffer.from(`${i}`)));
      await log.publish();
      return store;
    };
    const shorter = await build();
    shorter.entries.length = 299;
    await expect(TransparencyLog.open(shorter, signer)).rejects.toMatchObject({ code: "INCONSISTENT" });
    const altered = await build();
    const tile = altered.tiles.get("0/1") as Uint8Array;
    tile[5] = (tile[5] ?? 0) ^ 1;
    await expect(TransparencyLog.open(altered, signer)).rejects.toMatchObject({ code: "INCONSISTENT" });
    const truncated = await build();
    truncated.tiles.delete("0/1");
    await expect(TransparencyLog.open(truncated, signer)).rejects.toMatchObject({ code: "INCONSISTENT" });
    await expect(TransparencyLog.open(await build(), testNoteSigner("log.example/test", "other key"))).rejects.toMatchObject({ code: "UNKNOWN_KEY" });
  });

  it("does not take a plan that no longer fits", async () => {
    const log = await TransparencyLog.open(new MemoryLogStore(), signer);
    const [one, two] = [log.plan([Buffer.from("1")]), log.plan([Buffer.from("2")])];
    log.committed(one);
    expect(() => log.committed(two)).toThrow(/INCONSISTENT/);
  });
});
