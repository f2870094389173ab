/** What every Outbox does: nothing lost, nothing made up, dead letters kept. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSqliteStore } from "@hullmark/verifier/adapters/sqlite/index";
import { AlertBook } from "@hullmark/verifier/core/alerting/index";
import type { AlertCommit, Outbox } from "@hullmark/verifier/ports/outbox";
import { describe, expect, it } from "vitest";
import { subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { MemoryOutbox } from "../fakes/memory-outbox.ts";

interface Opened {
  readonly outbox: Outbox;
  reopen(): Promise<Outbox>;
  close(): Promise<void>;
}

const ADAPTERS: Record<string, () => Promise<Opened>> = {
  memory: async () => {
    const outbox = new MemoryOutbox();
    return { outbox, reopen: async () => outbox, close: async () => {} };
  },
  sqlite: async () => {
    const directory = await mkdtemp(join(tmpdir(), "hullmark-outbox-"));
    const path = join(directory, "verifier.db");
    let opened = await openSqliteStore(path);
    return {
      outbox: opened.outbox,
      reopen: async () => {
        await opened.close();
        opened = await openSqliteStore(path);
        return opened.outbox;
      },
      close: async () => {
        await opened.close();
        await rm(directory, { recursive: true, force: true });
      },
    };
  },
};

describe.each(Object.entries(ADAPTERS))("Outbox contract: %s", (_name, open) => {
  const using = async (test: (opened: Opened) => Promise<void>) => {
    const opened = await open();
    try {
      await test(opened);
    } finally {
      await opened.close();
    }
  };
  const commits = (nodes: readonly string[], route = webhookRoute({ groupBy: ["node"] })) => {
    const book = new AlertBook();
    return nodes.map((node, i) => {
      const plan = book.plan([subject({ driftId: `D-${node}`, nodeName: node })], [route], 1000 + i);
      book.apply(plan);
      return plan.commit;
    });
  };
  const ids = (items: readonly { notification: { id: string } }[]) => items.map(({ notification }) => notification.id);

  it("remembers alerts and notifications over a restart, exactly as committed", () =>
    using(async ({ outbox, reopen }) => {
      const [commit] = commits(["w-1"]);
      await outbox.commitAlerts(commit as AlertCommit);
      const again = await reopen();
      expect(await again.readAlerts()).toEqual(commit?.upserts);
      const [item] = await again.claim("hook", 2000, 10, 1000);
      expect(item?.notification).toEqual(commit?.notifications[0]);
      expect(item).toMatchObject({ attempts: 0, lastError: undefined });
      const removal = { upserts: [], removals: commit?.upserts.map(({ fingerprint }) => fingerprint) ?? [], notifications: [] };
      await again.commitAlerts(removal);
      expect(await again.readAlerts()).toEqual([]);
      expect(await again.counts()).toMatchObject({ pending: 1 });
    }));

  it("takes a repeated commit once", () =>
    using(async ({ outbox }) => {
      for (const commit of commits(["w-1", "w-2"]).flatMap((item) => [item, item])) await outbox.commitAlerts(commit);
      expect(await outbox.counts()).toEqual({ pending: 2, dead: 0, oldestPendingAtMs: 1000 });
      expect((await outbox.readAlerts()).length).toBe(2);
    }));

  it("hands out the oldest first, to one claimer, by route, and again after the lease", () =>
    using(async ({ outbox }) => {
      for (const commit of commits(["w-1", "w-2", "w-3"])) await outbox.commitAlerts(commit);
      for (const commit of commits(["w-9"], webhookRoute({ name: "other" }))) await outbox.commitAlerts(commit);
      const first = await outbox.claim("hook", 5000, 2, 1000);
      const second = await outbox.claim("hook", 5000, 2, 1000);
      expect([first.length, second.length]).toEqual([2, 1]);
      expect(new Set(ids([...first, ...second])).size).toBe(3);
      expect(await outbox.claim("hook", 5999, 9, 1000)).toEqual([]);
      expect(ids(await outbox.claim("hook", 6000, 9, 1000))).toEqual(ids([...first, ...second]));
      expect((await outbox.claim("other", 5000, 9, 1000)).length).toBe(1);
      expect(await outbox.claim("nobody", 5000, 9, 1000)).toEqual([]);
    }));

  it("counts attempts, waits, buries and revives", () =>
    using(async ({ outbox, reopen }) => {
      for (const commit of commits(["w-1", "w-2"])) await outbox.commitAlerts(commit);
      const [one, two] = ids(await outbox.claim("hook", 5000, 2, 60_000));
      await outbox.retry(one as string, "HTTP 500", 9000);
      await outbox.delivered(two as string);
      await outbox.delivered(two as string);
      expect(await outbox.claim("hook", 8999, 9, 1000)).toEqual([]);
      expect(await outbox.claim("hook", 9000, 9, 1000)).toMatchObject([{ attempts: 1, lastError: "HTTP 500" }]);
      await outbox.bury(one as string, "HTTP 400");
      const again = await reopen();
      expect(await again.claim("hook", 99_000, 9, 1000)).toEqual([]);
      expect(await again.counts()).toEqual({ pending: 0, dead: 1, oldestPendingAtMs: undefined });
      expect(await again.readDead(9)).toMatchObject([{ attempts: 2, lastError: "HTTP 400", notification: { id: one } }]);
      expect(await again.revive("absent", 100_000)).toBe(false);
      expect(await again.revive(one as string, 100_000)).toBe(true);
      expect(await again.claim("hook", 100_000, 9, 1000)).toMatchObject([{ attempts: 0 }]);
      expect(await again.revive(one as string, 100_000)).toBe(false);
    }));
});
