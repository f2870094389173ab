/** What happened in an incident, in order: what the kernel told, what the verifier found and decided, whom it told, what people and actuators did. */
import type { IncidentDecision } from "@hullmark/proto/v1/query";
import type { Assignment, Decision, Incident } from "@hullmark/verifier/core/incident/incident";
import { actionKindWord, actionStateWord, actorWord, toMs } from "../output/words.ts";
import type { ToldMember } from "./fetch.ts";

type Told = Pick<ToldMember, "drift" | "actions">;

/** Names come from nodes and people: not printable yet. */
export interface TimelineEvent {
  readonly atMs: number;
  /** `changed` by the kernel's event, `found`, `told`, `acknowledged`, `resolved`; `action`, `approved`, `issued`, `settled`; of the incident itself `assigned`, `closed`. */
  readonly what: "changed" | "found" | "told" | "acknowledged" | "resolved" | "action" | "approved" | "issued" | "settled" | "assigned" | "closed";
  /** Empty for what is of the incident itself; so are node and container. */
  readonly driftId: string;
  readonly actionId: string | null;
  readonly node: string;
  readonly container: string;
  /** A person, or the program that made the change; null: the verifier. */
  readonly by: string | null;
  readonly detail: string;
  /** Entry of the log that it is in, where known. */
  readonly logIndex: number | null;
}

type DecidedOn = Pick<Incident, "assigned" | "closed">;

/** Oldest first. */
export function timelineOf({ members, assigned, closed }: { readonly members: readonly Told[] } & DecidedOn): TimelineEvent[] {
  return [...members.flatMap(eventsOf), ...decisionsOf({ assigned, closed })].sort((a, b) => a.atMs - b.atMs);
}

/** As the verifier tells it. */
export function decisionOf(told: IncidentDecision | undefined): Assignment | undefined {
  return told && { by: told.by, reason: told.reason, atMs: toMs(told.at) ?? 0, logIndex: Number(told.logIndex), owner: told.owner };
}

function decisionsOf({ assigned, closed }: DecidedOn): TimelineEvent[] {
  const event = (what: TimelineEvent["what"], { by, atMs, logIndex }: Decision, detail: string): TimelineEvent => ({
    ...{ atMs, what, driftId: "", actionId: null, node: "", container: "", by, detail, logIndex },
  });
  return [
    ...(assigned ? [event("assigned", assigned, `to ${assigned.owner || "nobody"}: ${assigned.reason}`)] : []),
    ...(closed ? [event("closed", closed, closed.reason)] : []),
  ];
}

function eventsOf({ drift, actions }: Told): TimelineEvent[] {
  const events: TimelineEvent[] = [];
  const add = (at: number | undefined, what: TimelineEvent["what"], more: Partial<TimelineEvent> = {}): void => {
    if (at === undefined) return;
    const about = { driftId: drift.id, actionId: null, node: drift.nodeName, container: drift.containerName };
    events.push({ atMs: at, what, ...about, by: null, detail: "", logIndex: null, ...more });
  };
  add(toMs(drift.changedAt), "changed", { by: drift.actor?.executable ? actorWord(drift) : null });
  add(toMs(drift.committedAt), "found", { detail: drift.summary });
  add(toMs(drift.alertedAt), "told");
  if (drift.acknowledgedBy) add(toMs(drift.acknowledgedAt), "acknowledged", { by: drift.acknowledgedBy, detail: drift.acknowledgedReason });
  for (const action of actions) {
    const word = `${actionKindWord(action.kind)} (rule ${action.rule})`;
    add(toMs(action.createdAt), "action", { actionId: action.id, detail: word });
    for (const { by, at } of action.approvals) add(toMs(at), "approved", { actionId: action.id, by });
    add(toMs(action.issuedAt), "issued", { actionId: action.id });
    const detail = `${actionStateWord(action.state)}${action.reason ? `: ${action.reason}` : ""}`;
    add(toMs(action.settledAt), "settled", { actionId: action.id, by: action.deniedBy || null, detail, logIndex: Number(action.logIndex) });
  }
  add(toMs(drift.resolvedAt), "resolved");
  return events;
}
