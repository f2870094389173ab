/** Incidents as computed from what the verifier tells of drifts and actions. */
import { RpcError } from "@hullmark/proto/rpc";
import { type Drift, DriftState, type Exception, Query, type Incident as Told } from "@hullmark/proto/v1/query";
import { type Action, Response } from "@hullmark/proto/v1/response";
import { type Decided, excusedSince, type Incident, incidentsOf, type Member } from "@hullmark/verifier/core/incident/incident";
import { isContaining, withoutUndone } from "@hullmark/verifier/core/response/isolation";
import { isIn } from "../connection/connection.ts";
import { all, PAGE_SIZE } from "../connection/pages.ts";
import type { Asking } from "../connection/run.ts";
import { toMs } from "../output/words.ts";
import { decisionOf } from "./timeline.ts";

/** A drift with the actions that were decided on because of it, or on its container since it was found, oldest first. */
export interface ToldMember extends Member {
  readonly drift: Drift;
  readonly actions: readonly Action[];
  /** Asked for from it, or that excuse it, oldest first. */
  readonly exceptions: readonly Exception[];
}
export type ToldIncident = Incident<ToldMember>;

export interface Incidents {
  /** What stands first, gravest first. */
  readonly incidents: readonly ToldIncident[];
  /** Containers that could not be judged, in every namespace: the incidents say nothing of them. */
  readonly unknown: number;
}

const STANDING = [DriftState.OPEN, DriftState.ACKNOWLEDGED];

/** @param past also drifts that are resolved: without it, what they have to do with an incident that stands is as the verifier tells it */
export async function fetchIncidents(asking: Pick<Asking, "channel" | "signal" | "namespace">, past: boolean): Promise<Incidents> {
  const { channel, signal, namespace } = asking;
  const exceptions = (await channel.client(Query).listExceptions({}, { signal })).exceptions.toReversed();
  const excuses = new Map(exceptions.filter(({ state }) => state === "approved").map((each) => [each.id, each]));
  const states = past ? [...STANDING, DriftState.RESOLVED, ...(excuses.size > 0 ? [DriftState.NOTICE] : [])] : STANDING;
  let unknown = 0;
  const drifts = await all(
    (pageToken) => channel.client(Query).listDrift({ states, pageSize: PAGE_SIZE, pageToken }, { signal }),
    (page) => {
      unknown = page.containersUnknown;
      return page.drifts;
    },
  );
  const actions = await fetchActions(asking);
  const told = await fetchTold(asking, past);
  const actionsOf = actionsBy(actions.toReversed());
  const asked = Map.groupBy(exceptions, ({ driftId }) => driftId);
  const exceptionsOf = ({ id, exception }: Drift): Exception[] => {
    const own = asked.get(id) ?? [];
    const by = excuses.get(exception);
    return by && by.driftId !== id ? [...own, by] : own;
  };
  const members = drifts
    .filter((drift) => isIn(namespace, drift))
    .flatMap((drift) => memberOf(drift, actionsOf(drift), exceptionsOf(drift), toMs(excuses.get(drift.exception)?.decidedAt)) ?? []);
  const incidents = incidentsOf(members, (id) => decidedOn(told.get(id)));
  // The verifier's word is of every namespace.
  if (past || namespace !== undefined) return { incidents, unknown };
  return { incidents: incidents.map((each) => withPast(each, told.get(each.id))).sort((a, b) => b.severity - a.severity), unknown };
}

/** What of an incident that stands is over makes it graver, and is since when it is there. */
function withPast(incident: ToldIncident, told: Told | undefined): ToldIncident {
  if (!told || told.state === "resolved") return incident;
  return {
    ...incident,
    severity: Math.max(incident.severity, told.severity),
    firstSeenMs: Math.min(incident.firstSeenMs, toMs(told.firstSeen) ?? incident.firstSeenMs),
    reopened: told.reopened,
  };
}

function decidedOn(told: Told | undefined): Decided | undefined {
  return told && { assigned: decisionOf(told.lastAssigned), closed: decisionOf(told.lastClosed) };
}

/** As the verifier computed them, by id. One that tells of no incidents has kept no decision. */
async function fetchTold({ channel, signal }: Pick<Asking, "channel" | "signal">, resolved: boolean): Promise<ReadonlyMap<string, Told>> {
  try {
    const told = await all(
      (pageToken) => channel.client(Query).listIncidents({ resolved, pageSize: PAGE_SIZE, pageToken }, { signal }),
      (page) => page.incidents,
    );
    return new Map(told.map((each) => [each.id, each]));
  } catch (error) {
    if (error instanceof RpcError && error.code === "UNIMPLEMENTED") return new Map();
    throw error;
  }
}

/** Of one drift, oldest first. */
export async function fetchActionsOf(drift: Drift, { channel, signal }: Pick<Asking, "channel" | "signal">): Promise<readonly Action[]> {
  return actionsBy((await fetchActions({ channel, signal })).toReversed())(drift);
}

/** Newest first. */
async function fetchActions({ channel, signal }: Pick<Asking, "channel" | "signal">): Promise<Action[]> {
  return await all(
    (pageToken) => channel.client(Response).listActions({ pageSize: PAGE_SIZE, pageToken }, { signal }),
    (page) => page.actions,
  );
}

/** What was decided on because of a drift, or on its container while it stood. @param actions oldest first */
export function actionsBy(
  actions: readonly Action[],
): (drift: Pick<Drift, "id" | "nodeId" | "containerId" | "committedAt" | "resolvedAt">) => readonly Action[] {
  const placeOf = ({ nodeId, containerId }: { readonly nodeId: string; readonly containerId: string }): string => `${nodeId}/${containerId}`;
  const byDrift = Map.groupBy(actions, ({ driftId }) => driftId);
  const byPlace = Map.groupBy(actions, placeOf);
  return (drift) => {
    const [foundMs = 0, overMs = Number.POSITIVE_INFINITY] = [toMs(drift.committedAt), toMs(drift.resolvedAt)];
    const of = new Set(byDrift.get(drift.id));
    for (const action of drift.containerId ? (byPlace.get(placeOf(drift)) ?? []) : []) {
      const [beganMs = 0, endedMs = Number.POSITIVE_INFINITY] = [toMs(action.createdAt), toMs(action.settledAt)];
      if (endedMs >= foundMs && beganMs <= overMs) of.add(action);
    }
    return [...of].sort((a, b) => (toMs(a.createdAt) ?? 0) - (toMs(b.createdAt) ?? 0));
  };
}

/** Those whose id is, or begins with, what was typed. */
export function findIncidents(incidents: readonly ToldIncident[], id: string): readonly ToldIncident[] {
  const wanted = id.toUpperCase();
  return incidents.filter((incident) => incident.id.startsWith(wanted));
}

/** @param approvedAtMs of the exception that excuses it now @returns undefined: no drift, as far as people were told */
function memberOf(drift: Drift, actions: readonly Action[], exceptions: readonly Exception[], approvedAtMs: number | undefined): ToldMember | undefined {
  const { id, kind, path, configDigest, imageReference, nodeName, workload, severity, acknowledgedBy } = drift;
  const foundAtMs = toMs(drift.committedAt) ?? toMs(drift.measuredAt) ?? 0;
  const excusedAtMs = drift.state === DriftState.NOTICE ? excusedSince({ foundAtMs }, approvedAtMs) : undefined;
  if (drift.state === DriftState.NOTICE && excusedAtMs === undefined) return undefined;
  const over = drift.state === DriftState.RESOLVED || excusedAtMs !== undefined;
  return {
    ...{ drift, actions, exceptions, driftId: id, kind, path, image: configDigest || imageReference, nodeName, workload, severity, acknowledgedBy },
    state: over ? "resolved" : drift.state === DriftState.ACKNOWLEDGED ? "acknowledged" : "open",
    contained: withoutUndone(actions).some(isContaining),
    foundAtMs,
    resolvedAtMs: excusedAtMs ?? toMs(drift.resolvedAt),
    acknowledgedAtMs: toMs(drift.acknowledgedAt),
  };
}
