/** Around alerts: when a drift was first told, and the alert that tests a route. */
import { hash } from "node:crypto";
import type { AlertNotification, AlertSeverity } from "../../ports/notifier.ts";
import type { NodeRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import type { AlertSubject } from "../alerting/subject.ts";
import type { Sessions } from "../session/sessions.ts";

/** Notes on each drift when it was first told to somebody. */
export async function markAlerted({ alerts }: AlertNotification, atMs: number, store: Store, sessions: Sessions): Promise<void> {
  const ids = new Set(alerts.filter(({ status }) => status === "firing").flatMap(({ driftIds }) => driftIds));
  for (const id of ids) {
    const row = await store.readDrift(id);
    if (!row || row.alertedAtMs !== undefined) continue;
    await sessions.amend(row.nodeId, (live, changes) => {
      const present = live.drift(id);
      if (present && present.alertedAtMs === undefined) live.replaceDrift({ ...present, alertedAtMs: atMs }, present, changes);
    });
  }
}

/** That another attestation key speaks for a node: open until somebody approves it or revokes the node. */
export function akReplacedSubject({ id, name }: Pick<NodeRow, "id" | "name">, open: boolean, nowMs: number): AlertSubject {
  return {
    ...{ driftId: `ak-${id}`, incident: "", state: open ? "open" : "resolved", kind: "ak-replaced", place: "node", severity: "high", nodeName: name },
    ...{ workload: "", imageReference: "", containerName: "", path: new Uint8Array(0), layerIndex: -1, layerHistory: "", actor: undefined, provenance: "" },
    summary: "it enrolled with another attestation key than before: its TPM was cleared or its state folder lost, or a copy of it took its place",
    ...{ sinceMs: nowMs, logIndex: -1 },
  };
}

/** Says of itself that it is a test, in every field that a person may look at. */
export function testNotification(route: string, severity: AlertSeverity, by: string, nowMs: number): AlertNotification {
  const fingerprint = hash("sha256", `hullmark-test ${route} ${nowMs}`).slice(0, 32);
  return {
    id: fingerprint,
    route,
    groupKey: "test",
    suppressed: 0,
    createdAtMs: nowMs,
    alerts: [
      {
        fingerprint,
        incident: "",
        status: "firing",
        severity,
        kind: "test",
        node: "test",
        workload: "",
        image: "",
        path: "",
        containers: [],
        containerCount: 0,
        driftIds: [],
        startsAtMs: nowMs,
        endsAtMs: undefined,
        summary: `Test alert, asked for by ${by}: nothing is wrong`,
        description: `This tests the alert route ${route}. Nothing has to be done.`,
        nextCommand: "hullmark status",
        playbook: "",
      },
    ],
  };
}
