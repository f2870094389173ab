/** An alert as it is sent: its record and who holds it open, in words. */
import type { AlertEvent, AlertSeverity } from "../../ports/notifier.ts";
import type { AlertMember, AlertRecord } from "../../ports/outbox.ts";
import { printable } from "../text/printable.ts";
import { alertDescription, alertSummary, nextCommand, playbookOf, type Scene } from "./text.ts";

/** Names and ids shown with an alert; the rest is counted. */
const MAX_SHOWN = 16;

/** What an alert is of, as routes choose and receivers are told: it stays as it is while the alert is remembered. One that stands for many is of `many` kinds, or only of vulnerabilities. */
export function kindOf({ storm, shown }: Pick<AlertRecord, "storm" | "shown">): string {
  return storm && shown.kind !== "vulnerable" ? "many" : shown.kind;
}

/**
 * @param members who hold it open, in the order in which they joined; none: it is over, and said to have been where it was first shown
 * @param severities under which the route is told it, the one that counts last
 * @param said `acknowledged`: that is what it is told; `owner`: whom it was given to, empty: nobody
 */
export function eventOf(
  record: AlertRecord,
  members: Iterable<AlertMember>,
  severities: readonly AlertSeverity[],
  { acknowledged = false, owner }: { readonly acknowledged?: boolean; readonly owner: string },
): AlertEvent {
  const { shown, storm, opening, endedAtMs } = record;
  const severity = severities.at(-1) ?? record.severity;
  const scene = { ...sceneOf(record, members), owner };
  const subject = { ...shown, severity, sinceMs: record.startsAtMs };
  return {
    fingerprint: record.fingerprint,
    incident: storm ? "" : shown.incident,
    status: endedAtMs === undefined ? "firing" : "resolved",
    severity,
    earlierSeverities: [...new Set(severities)].filter((each) => each !== severity),
    kind: kindOf(record),
    ...opening,
    source: storm ? undefined : shown.source,
    path: storm ? "" : printable(shown.path, 1024),
    ...listed("nodes", "nodeCount", scene.nodes),
    ...listed("workloads", "workloadCount", scene.workloads),
    containers: scene.containers,
    containerCount: scene.containerCount,
    driftIds: scene.driftIds,
    driftCount: scene.driftCount,
    acknowledged,
    reopened: record.reopened,
    startsAtMs: record.startsAtMs,
    endsAtMs: endedAtMs === undefined ? undefined : Math.max(endedAtMs, record.startsAtMs),
    summary: alertSummary(subject, scene),
    description: alertDescription(subject, scene),
    nextCommand: nextCommand(subject, scene),
    playbook: playbookOf(kindOf(record)),
  };
}

function sceneOf(record: AlertRecord, members: Iterable<AlertMember>): Omit<Scene, "owner"> {
  const nodes = new Set<string>();
  const workloads = new Set<string>();
  const containers = new Set<string>();
  const driftIds: string[] = [];
  let driftCount = 0;
  let containerCount = 0;
  let showsStanding = false;
  for (const { driftId, node, workload, container } of members) {
    driftCount++;
    nodes.add(node);
    if (workload) workloads.add(workload);
    if (container) containerCount++;
    if (container && containers.size < MAX_SHOWN) containers.add(container);
    if (driftIds.length < MAX_SHOWN) driftIds.push(driftId);
    showsStanding ||= driftId === record.shown.driftId;
  }
  if (driftCount === 0) {
    const { nodeName, workload, containerName } = record.shown;
    nodes.add(printable(nodeName, 253));
    if (workload) workloads.add(printable(workload, 253));
    if (containerName) containers.add(printable(containerName, 128));
  }
  return {
    ...{ nodes: [...nodes], workloads: [...workloads], containers: [...containers], driftIds, driftCount, showsStanding },
    // Of an incident each drift is another container's; of a storm one may have many.
    containerCount: record.storm ? containers.size : Math.max(containers.size, containerCount),
    ...{ storm: record.storm, reopened: record.reopened, overSinceMs: record.overSinceMs },
  };
}

function listed<L extends string, C extends string>(list: L, count: C, names: readonly string[]): { [K in L]: string[] } & { [K in C]: number } {
  return { [list]: names.slice(0, MAX_SHOWN), [count]: names.length } as { [K in L]: string[] } & { [K in C]: number };
}
