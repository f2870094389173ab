/** Incidents as the Query service tells them. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type CallContext, RpcError, type ServiceImplementation } from "@hullmark/proto/rpc";
import type { Query } from "@hullmark/proto/v1/query";
import { keyOfNumber, rowPages } from "../../core/fleet/row-pages.ts";
import { type DecidedIncidents, sightOfIncident } from "../../core/incident/decisions.ts";
import type { Decision, Incident } from "../../core/incident/incident.ts";
import type { IncidentBook, NumberedMember } from "../../core/incident/incident-book.ts";
import { type Reach, reaches } from "../../core/people/grants.ts";
import type { ActionRow, IncidentRow } from "../../ports/rows.ts";
import type { Store } from "../../ports/store.ts";
import { driftMessage } from "./messages.ts";
import { incidentsReached } from "./reach.ts";
import { actionMessage } from "./response.ts";

export interface IncidentServices {
  readonly incidents: Pick<IncidentBook, "read" | "readNow">;
  readonly decided: Pick<DecidedIncidents, "of">;
  readonly store: Pick<Store, "readDrift" | "listActions">;
}

const MAX_NAMES = 20;
const MAX_SHOWN = 200;
/** Actions that are looked through for those of one incident, the newest first. */
const MAX_ACTION_PAGES = 2;
const ID_PATTERN = /^I-[0-9A-HJKMNP-TV-Z]{1,16}$/;

export function incidentQueries(
  { incidents, decided, store }: IncidentServices,
  rowsOf: (pageSize: number) => number,
  reachIn: (context: CallContext) => Reach,
) {
  const messageOf = (incident: Incident<NumberedMember>, reach: Reach) => incidentMessage(incident, reach === "cluster" ? decided.of(incident.id) : undefined);
  const actionsOf = async (ids: ReadonlySet<string>, reach: Reach): Promise<ActionRow[]> => {
    const found: ActionRow[] = [];
    let pages = 0;
    for await (const rows of rowPages((page) => store.listActions({ states: [], sinceMs: 0 }, page), keyOfNumber)) {
      found.push(...rows.filter((row) => ids.has(row.driftId) && reaches(reach, row)));
      if (++pages === MAX_ACTION_PAGES || found.length >= MAX_SHOWN) break;
    }
    return found.slice(0, MAX_SHOWN);
  };
  return {
    async listIncidents({ resolved, pageSize, pageToken }, context) {
      if (!/^[0-9]{0,6}$/.test(pageToken))
        throw new RpcError("INVALID_ARGUMENT", "not a page token of this list", { reason: "PAGE_TOKEN", field: "pageToken" });
      const reach = reachIn(context);
      const { incidents: known, incomplete } = await incidents.read();
      const all = incidentsReached(reach, known, decided.of);
      const listed = resolved ? all : all.filter(({ state }) => state !== "resolved");
      const from = Number(pageToken || 0);
      const to = from + rowsOf(pageSize);
      const nextPageToken = to < listed.length ? String(to) : "";
      return { incidents: listed.slice(from, to).map((each) => messageOf(each, reach)), nextPageToken, total: listed.length, incomplete };
    },
    async getIncident({ id, now }, context) {
      const reach = reachIn(context);
      const wanted = id.slice(0, 32).toUpperCase();
      const found = ID_PATTERN.test(wanted)
        ? incidentsReached(reach, (await (now ? incidents.readNow() : incidents.read())).incidents, decided.of).filter((each) => each.id.startsWith(wanted))
        : [];
      const [incident, another] = found;
      if (!incident) throw new RpcError("NOT_FOUND", "no such incident", { reason: "INCIDENT", field: "id", fix: "hullmark incident ls --all lists them" });
      if (another) throw new RpcError("FAILED_PRECONDITION", "several incidents begin so", { reason: "AMBIGUOUS", field: "id", fix: "give more of the id" });
      const newest = incident.members.toReversed();
      const shown = [...newest.filter(({ state }) => state !== "resolved"), ...newest.filter(({ state }) => state === "resolved")].slice(0, MAX_SHOWN);
      const [rows, actions] = await Promise.all([
        Promise.all(shown.map(({ driftId }) => store.readDrift(driftId))),
        actionsOf(new Set(incident.members.map(({ driftId }) => driftId)), reach),
      ]);
      return {
        incident: messageOf(incident, reach),
        drifts: rows.flatMap((row) => (row && reaches(reach, row) ? [driftMessage(row)] : [])),
        actions: actions.map(actionMessage),
      };
    },
  } satisfies Pick<ServiceImplementation<typeof Query>, "listIncidents" | "getIncident">;
}

function incidentMessage(incident: Incident<NumberedMember>, decided: IncidentRow | undefined) {
  const { id, kind, state, severity, path, image, owner, firstSeenMs, lastSeenMs, resolvedAtMs, reopened, nodes, workloads, members } = incident;
  const standing = members.filter((member) => member.state !== "resolved");
  const gravest = (standing.length > 0 ? standing : members).reduce((worst, each) => (each.severity > worst.severity ? each : worst));
  return {
    ...{ id, kind, state, severity, path, image, owner, reopened },
    ...{ imageReference: gravest.imageReference, summary: gravest.summary, driftId: gravest.driftId },
    ...{ firstSeen: timestampFromMs(Math.floor(firstSeenMs)), lastSeen: timestampFromMs(Math.floor(lastSeenMs)) },
    ...(resolvedAtMs !== undefined && { resolvedAt: timestampFromMs(Math.floor(resolvedAtMs)) }),
    ...{ drifts: members.length, standing: standing.length },
    ...{ nodesTotal: nodes.length, nodes: nodes.slice(0, MAX_NAMES), workloadsTotal: workloads.length, workloads: workloads.slice(0, MAX_NAMES) },
    ...{ assigned: decisionMessage(incident.assigned), closed: decisionMessage(incident.closed), seen: sightOfIncident(incident, decided) },
    ...{ lastAssigned: decisionMessage(decided?.assigned), lastClosed: decisionMessage(decided?.closed) },
  };
}

function decisionMessage(decision: (Decision & { readonly owner?: string }) | undefined) {
  if (!decision) return undefined;
  const { by, reason, atMs, logIndex, owner = "" } = decision;
  return { by, reason, at: timestampFromMs(Math.floor(atMs)), logIndex: BigInt(logIndex), owner };
}
