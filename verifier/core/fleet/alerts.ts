/** Around alerts: when a drift was first told, and the alert that tests a route. */
import { hash } from "node:crypto";
import type { AlertNotification, AlertSeverity } from "../../ports/notifier.ts";
import type { DriftRow, NodeRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import type { AlertBook } from "../alerting/book.ts";
import type { AlertSubject } from "../alerting/subject.ts";
import type { Sessions } from "../session/sessions.ts";

/** Drifts that are marked at a time. */
const MARKED_TOGETHER = 256;

/** Notes on each drift when people were first told of it: its alert was taken by a receiver, or it came to one that had been. @returns when all are noted @throws StoreError */
export async function markAlerted(driftIds: readonly string[], atMs: number, store: Store, sessions: Sessions): Promise<void> {
  for (let at = 0; at < driftIds.length; at += MARKED_TOGETHER) {
    const rows = await Promise.all(driftIds.slice(at, at + MARKED_TOGETHER).map((id) => store.readDrift(id)));
    const unmarked = rows.filter((row) => row !== undefined && row.alertedAtMs === undefined).filter((row) => row !== undefined);
    await Promise.all([...Map.groupBy(unmarked, ({ nodeId }) => nodeId)].map(([nodeId, ofNode]) => markOfNode(nodeId, ofNode, atMs, sessions)));
  }
}

/** What a crash left unmarked: drifts whose alert a receiver has taken. */
export async function markAlertedBefore(book: AlertBook, nowMs: number, store: Store, sessions: Sessions): Promise<void> {
  await markAlerted(
    [...book.heldIds()].filter((id) => book.isTold(id)),
    nowMs,
    store,
    sessions,
  );
}

async function markOfNode(nodeId: string, rows: readonly DriftRow[], atMs: number, sessions: Sessions): Promise<void> {
  await sessions.amend(nodeId, (live, changes) => {
    for (const { id } of rows) {
      const present = live.drift(id);
      if (present && present.alertedAtMs === undefined) live.replaceDrift({ ...present, alertedAtMs: atMs }, present, changes);
    }
  });
}

/** That another attestation key speaks for a node: open until somebody approves it or revokes the node. */
export function akReplacedSubject({ id, name }: Pick<NodeRow, "id" | "name">, open: boolean, nowMs: number): AlertSubject {
  return {
    ...{
      driftId: `ak-${id}`,
      incident: "",
      image: "",
      state: open ? "open" : "resolved",
      kind: "ak-replaced",
      place: "node",
      severity: "high",
      nodeName: name,
    },
    ...{ workload: "", imageReference: "", containerName: "", path: new Uint8Array(0), layerIndex: -1, layerHistory: "", actor: undefined, provenance: "" },
    summary: "it enrolled with another attestation key than before: its TPM was cleared or its state folder lost, or a copy of it took its place",
    ...{ sinceMs: nowMs, logIndex: -1 },
  };
}

export interface TestAlert {
  readonly route: string;
  readonly severity: AlertSeverity;
  /** The end of the one before, which has the same fingerprint. */
  readonly end: boolean;
  readonly by: string;
}

/** Says of itself that it is a test, in every field that a person may look at. */
export function testNotification({ route, severity, end, by }: TestAlert, nowMs: number): AlertNotification {
  const fingerprint = hash("sha256", `hullmark-test ${route}`).slice(0, 32);
  return {
    id: hash("sha256", `hullmark-test ${route} ${end} ${nowMs}`).slice(0, 32),
    route,
    groupKey: "test",
    suppressed: 0,
    waiting: 0,
    createdAtMs: nowMs,
    alerts: [
      {
        fingerprint,
        incident: "",
        status: end ? "resolved" : "firing",
        severity,
        earlierSeverities: [],
        kind: "test",
        node: "test",
        workload: "",
        image: "",
        path: "",
        nodes: ["test"],
        nodeCount: 1,
        workloads: [],
        workloadCount: 0,
        containers: [],
        containerCount: 0,
        driftIds: [],
        driftCount: 0,
        acknowledged: false,
        reopened: 0,
        startsAtMs: nowMs,
        endsAtMs: end ? nowMs : undefined,
        summary: `Test alert, asked for by ${by}: nothing is wrong`,
        description: `This tests the alert route ${route}. Nothing has to be done.`,
        nextCommand: "hullmark status",
        playbook: "",
      },
    ],
  };
}
