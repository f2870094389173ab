/** What a verifier reminded people of for a cluster is over where it follows none any more. */
import { join } from "node:path";
import { openSqliteStore } from "@hullmark/verifier/adapters/sqlite/index";
import { AlertBook } from "@hullmark/verifier/core/alerting/index";
import { afterAll, expect, test } from "vitest";
import { subject, webhookRoute } from "../fakes/alert-subjects.ts";
import { TestVerifier } from "../fakes/verifier.ts";

const verifier = new TestVerifier();
afterAll(() => verifier.dispose());

async function stored() {
  return await openSqliteStore(join(verifier.directory, "state/verifier.db"));
}

test("a team's exception that was to end soon is no alert any more once the configuration names no cluster", async () => {
  await verifier.start();
  await verifier.stop();
  const reminder = subject({ driftId: "driftexception-shop/good", incident: "", image: "", kind: "exception-ending", place: "configuration" });
  const { commit } = new AlertBook().plan([reminder], [webhookRoute()], Date.now());
  const before = await stored();
  await before.store.commit({ commits: [{ alerts: { ...commit, notifications: [] } }], log: undefined });
  await before.close();
  await verifier.start();
  // Looked for once it is up, and in the store before it stops.
  await verifier.stop();
  const after = await stored();
  try {
    expect((await after.outbox.readAlerts()).filter(({ members }) => members.length > 0)).toEqual([]);
  } finally {
    await after.close();
  }
});
