/** What every LogStore adapter must do. Call it from a test file of the adapter. */

import { EMPTY_EDGE, hashLeaf, loadEdge, parseVerifierKey, planAppend, TransparencyLog, verifyLog } from "@hullmark/verifier/core/transparency/index";
import { type LogAppend, type LogStore, LogStoreError } from "@hullmark/verifier/ports/log-store";
import { describe, expect, it } from "vitest";
import { testNoteSigner } from "../fakes/note-signer.ts";

const bytes = (text: string) => Buffer.from(text);

/** @param open gives an empty store; @param reopen the same storage as a new process would see it */
export function logStoreContract(name: string, open: () => Promise<{ store: LogStore; reopen: () => Promise<LogStore>; close: () => Promise<void> }>): void {
  describe(`LogStore contract: ${name}`, () => {
    async function using(test: (store: LogStore, reopen: () => Promise<LogStore>) => Promise<void>): Promise<void> {
      const { store, reopen, close } = await open();
      try {
        await test(store, reopen);
      } finally {
        await close();
      }
    }

    it("starts empty", () =>
      using(async (store) => {
        expect(await store.readSize()).toBe(0);
        expect(await store.readTile(0, 0, 1)).toBeUndefined();
        expect(await store.readCheckpoint()).toBeUndefined();
      }));

    it("keeps entries and tiles of an append, and gives them to a new process", () =>
      using(async (store, reopen) => {
        const { append } = planAppend(EMPTY_EDGE, [bytes("a"), bytes(""), Buffer.from([0, 255, 10])]);
        await store.append(append);
        for (const open of [async () => store, reopen]) {
          const reader = await open();
          expect(await reader.readSize()).toBe(3);
          expect((await reader.readEntries(0, 256)).map((entry) => Buffer.from(entry).toString("hex"))).toEqual(["61", "", "00ff0a"]);
          expect((await reader.readEntries(1, 1)).map((entry) => Buffer.from(entry).toString("hex"))).toEqual([""]);
          expect(Buffer.from((await reader.readTile(0, 0, 3)) ?? []).subarray(0, 32)).toEqual(hashLeaf(bytes("a")));
        }
      }));

    it("refuses an append at another size and writes nothing of it", () =>
      using(async (store) => {
        const first = planAppend(EMPTY_EDGE, [bytes("a")]);
        await store.append(first.append);
        const again = await store.append(first.append).catch((error: unknown) => error);
        expect(again).toBeInstanceOf(LogStoreError);
        expect((again as LogStoreError).code).toBe("LOG_CONFLICT");
        const ahead: LogAppend = { ...planAppend(first.edge, [bytes("b")]).append, firstIndex: 7 };
        await expect(store.append(ahead)).rejects.toMatchObject({ code: "LOG_CONFLICT" });
        expect(await store.readSize()).toBe(1);
        expect((await store.readEntries(0, 256)).length).toBe(1);
        expect((await store.readTile(0, 0, 1))?.length).toBe(32);
      }));

    it("grows a partial tile and starts the next one after 256 entries", () =>
      using(async (store) => {
        let edge = EMPTY_EDGE;
        for (const count of [200, 55, 1, 1, 300]) {
          const planned = planAppend(
            edge,
            Array.from({ length: count }, (_, i) => bytes(`${edge.size + i}`)),
          );
          await store.append(planned.append);
          edge = planned.edge;
          expect(await loadEdge(store)).toEqual(edge);
        }
        expect((await store.readTile(0, 0, 256))?.length).toBe(8192);
        expect((await store.readTile(0, 2, 45))?.length).toBe(45 * 32);
        expect((await store.readTile(1, 0, 2))?.length).toBe(64);
        expect((await store.readEntries(256, 256)).length).toBe(256);
        expect((await store.readEntries(250, 6)).map((entry) => Buffer.from(entry).toString())).toEqual(["250", "251", "252", "253", "254", "255"]);
      }));

    it("keeps the largest checkpoint", () =>
      using(async (store, reopen) => {
        await store.writeCheckpoint({ size: 5, note: "five" });
        await store.writeCheckpoint({ size: 3, note: "three" });
        await store.writeCheckpoint({ size: 5, note: "another five" });
        expect(await (await reopen()).readCheckpoint()).toEqual({ size: 5, note: "five" });
      }));

    it("carries a whole log that verifies, over several processes", () =>
      using(async (store, reopen) => {
        const signer = testNoteSigner();
        let log = await TransparencyLog.open(store, signer);
        await Promise.all(Array.from({ length: 20 }, (_, i) => log.append(Array.from({ length: 15 }, (_, j) => bytes(`${i}.${j}`)))));
        await log.publish();
        log = await TransparencyLog.open(await reopen(), signer);
        const { firstIndex } = await log.append([bytes("after")]);
        expect(firstIndex).toBe(300);
        await log.publish();
        const result = await verifyLog(await reopen(), parseVerifierKey(signer.verifierKey));
        expect(result.findings).toEqual([]);
        expect(result).toMatchObject({ verdict: "ok", entries: 301 });
      }));
  });
}
