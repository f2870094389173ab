/** Incidents: a line each, one in full, and the stable form of both. */

import { DriftState } from "@hullmark/proto/v1/query";
import type { Action } from "@hullmark/proto/v1/response";
import { playbookOf } from "@hullmark/verifier/core/alerting/text";
import type { Decision, Incident } from "@hullmark/verifier/core/incident/incident";
import { counted } from "@hullmark/verifier/core/text/counted";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { ToldIncident, ToldMember } from "../incident/fetch.ts";
import { type TimelineEvent, timelineOf } from "../incident/timeline.ts";
import type { Called } from "../kubectl/invocation.ts";
import { handledFields } from "./handled.ts";
import { table } from "./table.ts";
import { driftView } from "./views.ts";
import { actorWord, ageMs, MAX_PATH_CHARACTERS, pathWord, severityTitle, severityWord, toMs } from "./words.ts";

/** Members and events that a page shows; `-o wide` shows all. */
const MAX_SHOWN = 20;
const HEADERS = ["INCIDENT", "SEV", "STATE", "WORKLOAD", "PATH", "WHAT", "NODES", "DRIFTS", "OWNER", "AGE"];

export function incidentTable(incidents: readonly ToldIncident[], wide: boolean, nowMs: number): string {
  return table(
    HEADERS,
    incidents.map((incident) => [
      ...[incident.id, severityWord(incident.severity), incident.state, several(incident.workloads, 40)],
      ...[pathWord(incident.path, wide ? 4096 : 60) || "-", incident.kind, String(incident.nodes.length), String(incident.members.length)],
      ...[printable(incident.owner, 32) || "-", ageMs(incident.firstSeenMs, nowMs)],
    ]),
  );
}

export function incidentPage(incident: ToldIncident, wide: boolean, nowMs: number, command: Called): string {
  const { members, nodes } = incident;
  const field = (name: string, text: string): string => `${name.padEnd(8)} ${text}`;
  const standing = members.filter(({ state }) => state !== "resolved");
  const shown = wide ? members : [...standing, ...members.filter(({ state }) => state === "resolved")].slice(0, MAX_SHOWN);
  const events = timelineOf(incident);
  const lines = [`${severityTitle(incident.severity)}  ${incident.id}  (${incident.kind}, ${incident.state})`];
  if (incident.path.length > 0) lines.push(field("File", printable(incident.path, 16_384)));
  const { drift } = gravest(standing.length > 0 ? standing : members);
  lines.push(field("What", printable(drift.summary, 1000)));
  lines.push(
    field("Where", `${whereWord(incident)}${counted(members.length, "drift")}, ${standing.length} of them standing, on ${counted(nodes.length, "node")}`),
  );
  if (incident.image) lines.push(field("Image", `${printable(drift.imageReference, 200)}${drift.configDigest ? ` · config ${drift.configDigest}` : ""}`));
  const again = incident.reopened > 0 ? ` · returned ${counted(incident.reopened, "time")}` : "";
  lines.push(field("Since", `${iso(incident.firstSeenMs)} · newest ${ageMs(incident.lastSeenMs, nowMs)} ago${again}`));
  if (incident.resolvedAtMs !== undefined) lines.push(field("Over", iso(incident.resolvedAtMs)));
  lines.push(field("Owner", ownerLine(incident)));
  lines.push(...handledFields(oldestFirst(members), field));
  if (incident.closed) lines.push(field("Closed", printable(`by ${incident.closed.by} ${iso(incident.closed.atMs)}: ${incident.closed.reason}`, 700)));
  lines.push(field("Read", playbookOf(incident.kind)));
  if (incident.state !== "resolved")
    lines.push(
      field(
        "Next",
        [
          `${command} drift show ${drift.id}`,
          `${command} incident ack ${incident.id} -m REASON`,
          `${command} incident assign ${incident.id} --me -m REASON`,
        ].join(" · "),
      ),
    );
  const rows = shown.map(({ driftId, state, severity, nodeName, drift: each }) => [
    ...[
      driftId,
      severityWord(severity),
      each.state === DriftState.NOTICE ? `excused ${each.exception}` : state,
      printable(nodeName, 40),
      printable(each.containerName, 60),
      actorWord(each),
    ],
  ]);
  lines.push("", table(["DRIFT", "SEV", "STATE", "NODE", "CONTAINER", "WHO"], rows).trimEnd(), ...left(members.length - shown.length, "drifts"));
  const told = wide ? events : events.slice(-MAX_SHOWN);
  lines.push("", ...left(events.length - told.length, "earlier events"), ...told.map(eventLine));
  return `${lines.join("\n")}\n`;
}

/** The stable form: docs/cli.md. */
export function incidentView(incident: ToldIncident) {
  return {
    ...incidentHead(incident),
    drifts: incident.members.map(({ drift }) => driftView(drift)),
    timeline: timelineOf(incident).map(({ atMs, ...event }) => ({ at: iso(atMs), ...event })),
  };
}

/** Without its drifts and timeline. */
export function incidentHead(incident: Incident) {
  const { id, kind, state, severity, owner, reopened, nodes, workloads, path } = incident;
  return {
    ...{ id, severity: severityWord(severity), kind, state, owner: owner || null, path: printable(path, MAX_PATH_CHARACTERS) },
    ...{ pathHex: Buffer.from(path).toString("hex"), image: incident.image, nodes, workloads, firstSeen: iso(incident.firstSeenMs) },
    ...{ lastSeen: iso(incident.lastSeenMs), resolvedAt: incident.resolvedAtMs === undefined ? null : iso(incident.resolvedAtMs), reopened },
    assigned: incident.assigned ? { owner: incident.assigned.owner || null, ...decisionView(incident.assigned) } : null,
    closed: incident.closed ? decisionView(incident.closed) : null,
    playbook: playbookOf(kind),
  };
}

/** Each action once, though it may be of several drifts. */
function oldestFirst(members: readonly ToldMember[]): Action[] {
  return [...new Set(members.flatMap(({ actions }) => actions))].sort((a, b) => (toMs(a.createdAt) ?? 0) - (toMs(b.createdAt) ?? 0));
}

function eventLine({ atMs, what, driftId, actionId, node, by, detail }: TimelineEvent): string {
  const about = driftId === "" ? "the incident" : `${driftId}${actionId === null ? "" : ` ${actionId}`} on ${printable(node, 60)}`;
  const who = by === null ? "" : ` by ${printable(by, 100)}`;
  return `${iso(atMs)}  ${what.padEnd(12)} ${about}${who}${detail ? `: ${printable(detail, 200)}` : ""}`;
}

/** Of a matter of nodes themselves the nodes. */
function whereWord({ workloads, nodes }: ToldIncident): string {
  const named = workloads.filter((name) => name !== "");
  return named.length > 0 ? `${several(workloads, 200)} · ` : `node ${several(nodes, 200)} · `;
}

function ownerLine({ owner, assigned }: ToldIncident): string {
  if (assigned && assigned.owner === owner) return printable(`${owner || "nobody"}, by ${assigned.by} ${iso(assigned.atMs)}: ${assigned.reason}`, 700);
  return owner ? `${printable(owner, 100)}, who acknowledged it` : "nobody: not acknowledged";
}

function decisionView({ by, reason, atMs, logIndex }: Decision) {
  return { by, reason, at: iso(atMs), logIndex };
}

function gravest(members: readonly ToldMember[]): ToldMember {
  return members.reduce((worst, each) => (each.severity > worst.severity ? each : worst));
}

const left = (count: number, what: string): string[] => (count > 0 ? [`and ${count} ${what} (-o wide)`] : []);

function several(names: readonly string[], max: number): string {
  const [first = "", ...others] = names;
  return `${printable(first, max) || "-"}${others.length > 0 ? ` and ${others.length} more` : ""}`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
