/** What every Outbox does: nothing lost, nothing made up, dead letters kept. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSqliteStore } from "@hullmark/verifier/adapters/sqlite/index";
import { AlertBook, type AlertSubject } from "@hullmark/verifier/core/alerting/index";
import type { AlertNotification } from "@hullmark/verifier/ports/notifier";
import { type AlertCommit, KEPT_DEAD, KEPT_DELIVERED, KEPT_DELIVERED_MS, MAX_WAIT_MS, type Outbox } from "@hullmark/verifier/ports/outbox";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { MemoryOutbox } from "../fakes/memory-outbox.ts";

const NOTHING: AlertCommit = { upserts: [], removals: [], left: [], joined: [], notifications: [] };

interface Opened {
  readonly outbox: Outbox;
  reopen(): Promise<Outbox>;
  /** All but one that wait are given up, at once: one by one takes minutes. */
  buryAllBut(id: string): void;
  close(): Promise<void>;
}

const ADAPTERS: Record<string, () => Promise<Opened>> = {
  memory: async () => {
    const outbox = new MemoryOutbox();
    const buryAllBut = (id: string): void => {
      for (const row of outbox.rows.values()) if (row.notification.id !== id) outbox.rows.set(row.notification.id, { ...row, state: "dead" });
    };
    return { outbox, buryAllBut, reopen: async () => outbox, close: async () => {} };
  },
  sqlite: async () => {
    const directory = await mkdtemp(join(tmpdir(), "hullmark-outbox-"));
    const path = join(directory, "verifier.db");
    let opened = await openSqliteStore(path);
    return {
      outbox: opened.outbox,
      buryAllBut: (id) => {
        const second = new Database(path);
        second.prepare("UPDATE outbox SET state = 1, ended_ms = 1 WHERE id <> ?").run(id);
        second.close();
      },
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

describe.each(Object.entries(ADAPTERS))("Outbox contract: %s", (name, open) => {
  const using = async (test: (opened: Opened) => Promise<void>) => {
    const opened = await open();
    try {
      await test(opened);
    } finally {
      await opened.close();
    }
  };
  const commits = (nodes: readonly string[], route = webhookRoute({ groupBy: ["incident"] })) => {
    const book = new AlertBook();
    return nodes.map((node, i) => {
      const plan = book.plan([subject({ driftId: `D-${node}`, path: Buffer.from(`/${node}`) })], [route], 1000 + i);
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
      const [record] = commit?.upserts ?? [];
      expect(await again.readAlerts()).toEqual([{ record, members: commit?.joined.map(({ member }) => member) }]);
      const [item] = await again.claim("hook", 2000, 10, 1000);
      expect(item?.notification).toEqual(commit?.notifications[0]);
      expect(item).toMatchObject({ attempts: 0, lastError: undefined });
      const removal = { ...NOTHING, removals: commit?.upserts.map(({ fingerprint }) => fingerprint) ?? [] };
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

  it("has what was given back untried due as it was, for whoever claims next", () =>
    using(async ({ outbox }) => {
      for (const commit of commits(["w-1", "w-2"])) await outbox.commitAlerts(commit);
      const [one, two] = ids(await outbox.claim("hook", 5000, 9, 60_000));
      await outbox.unclaim([two ?? "", "absent"]);
      expect(await outbox.claim("hook", 5001, 9, 60_000)).toMatchObject([{ notification: { id: two }, attempts: 0, lastError: undefined }]);
      await outbox.retry(one ?? "", "HTTP 503", 9000);
      await outbox.unclaim([one ?? ""]);
      expect(await outbox.claim("hook", 8999, 9, 60_000)).toEqual([]);
    }));

  it("remembers who holds an alert open, in the order in which they came, and moves them", () =>
    using(async ({ outbox, reopen }) => {
      const book = new AlertBook();
      const route = webhookRoute();
      const step = async (...subjects: AlertSubject[]) => {
        const plan = book.plan(subjects, [route], 1000);
        await outbox.commitAlerts(plan.commit);
        book.apply(plan);
      };
      const on = (node: number) => subject({ driftId: `D-${node}`, nodeName: `w-${node}` });
      await step(...[5, 3, 9, 1].map(on));
      await step({ ...on(3), state: "resolved" }, { ...on(5), state: "acknowledged" }, on(2));
      await step({ ...on(9), kind: "setuid", incident: "I-OTHER" });
      const alerts = await (await reopen()).readAlerts();
      const held = Object.fromEntries(
        alerts.map(({ record, members }) => [record.shown.incident, members.map(({ driftId, acknowledged }) => [driftId, acknowledged])]),
      );
      expect(held).toEqual({
        [subject().incident]: [
          ["D-5", true],
          ["D-1", false],
          ["D-2", false],
        ],
        "I-OTHER": [["D-9", false]],
      });
    }));

  // What is in memory goes with its process.
  if (name === "sqlite")
    it("hands out at once what a process held that is gone, and not what waits for its next attempt", () =>
      using(async ({ outbox, reopen }) => {
        for (const commit of commits(["w-1", "w-2"])) await outbox.commitAlerts(commit);
        const [first, second] = ids(await outbox.claim("hook", 5000, 9, 60_000));
        await outbox.retry(first ?? "", "HTTP 500", 9000);
        expect(ids(await (await reopen()).claim("hook", 5001, 9, 60_000))).toEqual([second]);
      }));

  it("does not wait for the hour by which a clock was set back", () =>
    using(async ({ outbox }) => {
      const [commit] = commits(["w-1"]);
      await outbox.commitAlerts(commit as AlertCommit);
      const [item] = await outbox.claim("hook", 3_600_000, 9, 60_000);
      expect(item).toBeDefined();
      expect(ids(await outbox.claim("hook", 5000, 9, 1000))).toEqual([item?.notification.id]);
      await outbox.retry(item?.notification.id ?? "", "HTTP 500", 5000 + MAX_WAIT_MS);
      expect(await outbox.claim("hook", 5000, 9, 1000)).toEqual([]);
    }));

  it("counts attempts, waits, buries and revives", () =>
    using(async ({ outbox, reopen }) => {
      for (const commit of commits(["w-1", "w-2"])) await outbox.commitAlerts(commit);
      const [one, two] = ids(await outbox.claim("hook", 5000, 2, 60_000));
      await outbox.retry(one as string, "HTTP 500", 9000);
      await outbox.delivered(two as string, 5000);
      await outbox.delivered(two as string, 5000);
      expect(await outbox.claim("hook", 8999, 9, 1000)).toEqual([]);
      expect(await outbox.claim("hook", 9000, 9, 1000)).toMatchObject([{ attempts: 1, lastError: "HTTP 500" }]);
      await outbox.bury(one as string, "HTTP 400", 9500);
      const again = await reopen();
      expect(await again.claim("hook", 99_000, 9, 1000)).toEqual([]);
      expect(await again.counts()).toEqual({ pending: 0, dead: 1, oldestPendingAtMs: undefined });
      const any = { route: undefined, state: undefined } as const;
      expect(await again.list(any, 9)).toMatchObject([
        { id: two, state: "delivered", attempts: 0, lastError: undefined, endedAtMs: 5000 },
        {
          id: one,
          state: "dead",
          attempts: 2,
          lastError: "HTTP 400",
          endedAtMs: 9500,
          severity: "critical",
          firing: 1,
          resolved: 0,
          summary: expect.stringContaining("altered in an image layer"),
        },
      ]);
      expect((await again.list({ ...any, state: "dead" }, 9)).map(({ id }) => id)).toEqual([one]);
      expect(await again.list({ ...any, route: "other" }, 9)).toEqual([]);
      expect((await again.list(any, 1)).map(({ id }) => id)).toEqual([two]);
      expect(await again.revive(two as string, 100_000)).toBe(false);
      expect(await again.revive("absent", 100_000)).toBe(false);
      // What was given up may be wrong by now: another takes its place.
      expect(await again.revive(one as string, 100_000)).toBe(false);
      expect(await again.readDead(two as string)).toBeUndefined();
      const dead = (await again.readDead(one as string)) as AlertNotification;
      expect(dead.alerts[0]).toMatchObject({ status: "firing", path: "/w-1" });
      for (let i = 0; i < 2; i++) await again.commitAlerts({ ...NOTHING, notifications: [{ ...dead, id: "instead" }], replaced: [one as string] });
      expect(await again.list({ ...any, state: "dead" }, 9)).toEqual([]);
      expect(await again.claim("hook", 100_000, 9, 1000)).toMatchObject([{ attempts: 0, notification: { id: "instead" } }]);
      await again.retry("instead", "HTTP 500", 200_000);
      // What waits is due at once.
      expect(await again.revive("instead", 100_001)).toBe(true);
      expect(await again.claim("hook", 100_001, 9, 1000)).toMatchObject([{ attempts: 0 }]);
    }));

  it("lets no notification overtake an earlier one of the same alert, over a restart too; others go on", () =>
    using(async ({ outbox, reopen }) => {
      const [[first], [other]] = [commits(["w-1"]), commits(["w-2"])] as [[AlertCommit], [AlertCommit]];
      const [one, two] = [first, other].map(({ notifications }) => notifications[0] as AlertNotification) as [AlertNotification, AlertNotification];
      const of = (id: string, ...alerts: AlertNotification[]) => ({ ...one, id, alerts: alerts.flatMap((each) => each.alerts) });
      const sent = [of("a", one), of("ab", one, two), of("b", two), of("a-again", one)];
      await outbox.commitAlerts({ ...NOTHING, notifications: sent });
      await outbox.claim("hook", 5000, 1, 1000);
      expect(await outbox.claim("hook", 5000, 9, 1000)).toEqual([]);
      await outbox.retry("a", "HTTP 503", 9000);
      await outbox.commitAlerts({ ...NOTHING, notifications: [of("c", { ...one, alerts: one.alerts.map((alert) => ({ ...alert, fingerprint: "c" })) })] });
      const again = await reopen();
      expect(ids(await again.claim("hook", 8999, 9, 1))).toEqual(["c"]);
      await again.delivered("c", 8999);
      expect(ids(await again.claim("hook", 9000, 9, 1000))).toEqual(["a", "ab", "b", "a-again"]);
      // Given up is out of the way.
      await again.bury("a", "HTTP 400", 9001);
      await again.retry("ab", "HTTP 503", 99_000);
      expect(ids(await again.claim("hook", 20_000, 9, 1000))).toEqual([]);
      await again.bury("ab", "HTTP 400", 20_001);
      expect(ids(await again.claim("hook", 21_001, 9, 1000))).toEqual(["b", "a-again"]);
    }));

  it("keeps the newest dead letters", () =>
    using(async ({ outbox, buryAllBut }) => {
      const [commit] = commits(["w-1"]) as [AlertCommit];
      const [notification] = commit.notifications as [AlertNotification];
      const given = Array.from({ length: KEPT_DEAD + 2 }, (_, i) => `n-${i}`);
      await outbox.commitAlerts({ ...NOTHING, notifications: given.map((id) => ({ ...notification, id, alerts: [] })) });
      const last = given.at(-1) as string;
      buryAllBut(last);
      await outbox.bury(last, "HTTP 410", 1);
      expect(await outbox.counts()).toMatchObject({ pending: 0, dead: KEPT_DEAD });
      expect(await outbox.readDead("n-1")).toBeUndefined();
      expect(await outbox.readDead("n-2")).toBeDefined();
    }));

  it("keeps what was delivered for a while, the newest of it, and counts none of it; it is not sent again", () =>
    using(async ({ outbox }) => {
      const [commit] = commits(["w-1"]) as [AlertCommit];
      const [notification] = commit.notifications as [AlertNotification];
      const sent = Array.from({ length: KEPT_DELIVERED + 5 }, (_, i) => `n-${i}`);
      const all = { ...commit, notifications: sent.map((id) => ({ ...notification, id })) };
      await outbox.commitAlerts(all);
      for (const id of sent) await outbox.delivered(id, 5000);
      const kept = await outbox.list({ route: "hook", state: "delivered" }, 2 * KEPT_DELIVERED);
      expect(kept.map(({ id }) => id)).toEqual(sent.slice(5).reverse());
      expect(await outbox.counts()).toEqual({ pending: 0, dead: 0, oldestPendingAtMs: undefined });
      await outbox.commitAlerts({ ...all, notifications: [{ ...notification, id: "n-200" }] });
      expect(await outbox.claim("hook", 9000, 9, 1000)).toEqual([]);
      await outbox.commitAlerts({ ...all, notifications: [{ ...notification, id: "late" }] });
      await outbox.delivered("late", 5001 + KEPT_DELIVERED_MS);
      expect((await outbox.list({ route: undefined, state: undefined }, 9)).length).toBe(1);
    }));
});
