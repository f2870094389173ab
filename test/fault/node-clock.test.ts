/** What a node says of the time is anything: it takes down no writer, and hides no alert from a receiver that reads dates. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { postableAlerts } from "@hullmark/verifier/adapters/alert-http/index";
import { openSqliteStore } from "@hullmark/verifier/adapters/sqlite/index";
import { AlertBook } from "@hullmark/verifier/core/alerting/book";
import { alertPlanner } from "@hullmark/verifier/core/fleet/alert-planner";
import { Committer } from "@hullmark/verifier/core/fleet/committer";
import { type AnyFinding, openDrift, updateDrift } from "@hullmark/verifier/core/fleet/drift-rows";
import { TransparencyLog } from "@hullmark/verifier/core/transparency/index";
import { expect, onTestFinished, test } from "vitest";
import { drift, T0 } from "../contract/store-fixtures.ts";
import { NOTHING_WAITS, webhookRoute } from "../fakes/alert-subjects.ts";
import { testNoteSigner } from "../fakes/note-signer.ts";

const LAST_MS = Date.parse("9999-12-31T23:59:59.999Z");
const TIMES = [Number.NaN, -1, LAST_MS, LAST_MS + 1, 3.2e14, 8.7e15, 9.3e21];

async function writer() {
  const directory = mkdtempSync(join(tmpdir(), "hullmark-clock-"));
  const opened = await openSqliteStore(join(directory, "verifier.db"));
  onTestFinished(async () => {
    await opened.close();
    rmSync(directory, { recursive: true });
  });
  const log = await TransparencyLog.open(opened.log, testNoteSigner());
  const nothing = (): void => {};
  const alerts = alertPlanner({
    ...{ book: new AlertBook(), routes: () => [webhookRoute()], nowMs: () => T0 + 1000 },
    ...{ onTold: nothing, onDue: nothing, handled: NOTHING_WAITS, passing: nothing },
  });
  return { opened, committer: new Committer(opened.store, log, alerts, nothing) };
}

test("a drift is told as it was measured where its node names the time of no day, or a later one", async () => {
  const { opened, committer } = await writer();
  for (const [i, changedAtMs] of TIMES.entries())
    await committer.submit({ entries: [], build: () => ({ drifts: [drift(i + 1, { changedAtMs, key: `k${i}`, path: Buffer.from(`/${i}`) })] }) });
  const told = await opened.outbox.claim("hook", T0 + 2000, 99, 1000);
  expect(told).toHaveLength(TIMES.length);
  for (const { notification } of told)
    for (const { startsAt, endsAt } of notification.alerts.flatMap((alert) => postableAlerts(alert, notification, undefined, T0 + 2000))) {
      expect(startsAt).toBe(new Date(T0).toISOString());
      expect(endsAt).toMatch(/^\d{4}-/);
    }
});

test("a drift keeps no time that is no day's", () => {
  const finding = { kind: "content", place: "upper", severity: 1, layerIndex: -1, differences: [], notice: false } as unknown as AnyFinding;
  const { id, number, ...row } = drift(1);
  const subject = { ...row, layer: () => ({ diffId: "", history: "" }) };
  const opened = TIMES.map((changedAtMs) => openDrift({ id, number }, { ...finding, changedAtMs }, subject, T0, undefined));
  expect(opened.map(({ changedAtMs }) => changedAtMs)).toEqual([undefined, undefined, LAST_MS, undefined, undefined, undefined, undefined]);
  expect(updateDrift(drift(1, { changedAtMs: T0 }), { ...finding, changedAtMs: 8.7e15 }, subject, T0).changedAtMs).toBe(T0);
});

test("a draft that cannot be put together fails, and the writer goes on", async () => {
  const { opened, committer } = await writer();
  const refused = committer.submit({
    entries: [],
    build: () => {
      throw new RangeError("Invalid time value");
    },
  });
  await expect(refused).rejects.toThrow("Invalid time value");
  await committer.submit({ entries: [], build: () => ({ drifts: [drift(1)] }) });
  expect(await opened.store.readDrift("D-1")).toBeDefined();
});
