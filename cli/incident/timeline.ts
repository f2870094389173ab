/** What happened in an incident, in order: what the kernel told, what the verifier found and decided, whom it told, what people and actuators did. */
import type { Exception, IncidentDecision } from "@hullmark/proto/v1/query";
import type { Assignment, Decision, Incident } from "@hullmark/verifier/core/incident/incident";
import { isSilence } from "@hullmark/verifier/core/policy/kinds";
import { actionKindWord, actionStateWord, actorWord, captureWords, toMs } from "../output/words.ts";
import type { ToldMember } from "./fetch.ts";

type Told = Pick<ToldMember, "drift" | "actions" | "exceptions">;

/** Names come from nodes and people: not printable yet. */
export interface TimelineEvent {
  readonly atMs: number;
  /**
   * `changed` by the kernel's event (last, where often), `heard` for the last time, `found` (again, where it changed since), `told`, `acknowledged`, `resolved`; of an action `action`, `approved`, `captured` (or why not), `issued`, `settled`; of an exception `exception` (asked for), `excused`,
   * `not-excused` (denied), `excuse-over` (revoked, or at its end); of the incident itself `assigned`, `closed`.
   */
  readonly what:
    | ("changed" | "heard" | "found" | "told" | "acknowledged" | "resolved")
    | ("action" | "approved" | "captured" | "issued" | "settled")
    | ("exception" | "excused" | "not-excused" | "excuse-over")
    | ("assigned" | "closed");
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

function eventsOf({ drift, actions, exceptions }: Told): TimelineEvent[] {
  const events: TimelineEvent[] = [];
  const add = (at: number | undefined, what: TimelineEvent["what"], more: Partial<TimelineEvent> = {}): void => {
    if (at === undefined) return;
    const about = { driftId: drift.id, actionId: null, node: drift.nodeName, container: drift.containerName };
    events.push({ atMs: at, what, ...about, by: null, detail: "", logIndex: null, ...more });
  };
  const [changedAtMs, foundAtMs = 0] = [toMs(drift.changedAt), toMs(drift.committedAt)];
  const silence = isSilence(drift.kind);
  add(changedAtMs, silence ? "heard" : "changed", { by: drift.actor?.executable ? actorWord(drift) : null });
  // One that changed since it was found is told as it is now: what it was then is in the log.
  const changedSince = !silence && changedAtMs !== undefined && changedAtMs > foundAtMs;
  add(foundAtMs, "found", { detail: changedSince ? "" : drift.summary });
  if (changedSince) add(Math.max(changedAtMs, toMs(drift.measuredAt) ?? 0), "found", { detail: drift.summary });
  add(toMs(drift.alertedAt), "told");
  if (drift.acknowledgedBy) add(toMs(drift.acknowledgedAt), "acknowledged", { by: drift.acknowledgedBy, detail: drift.acknowledgedReason });
  for (const action of actions) {
    const word = `${actionKindWord(action.kind)} (rule ${action.rule})`;
    add(toMs(action.createdAt), "action", { actionId: action.id, detail: word });
    for (const { by, at } of action.approvals) add(toMs(at), "approved", { actionId: action.id, by });
    const captured = captureWords(action);
    // What a host captures is told with the action's end; that nothing came was known, at the latest, when it was issued without.
    const withoutAt = action.captureMissedAt ?? action.issuedAt ?? action.settledAt;
    if (captured !== undefined)
      add(toMs(action.capture ? (action.capture.toldAt ?? action.settledAt) : withoutAt), "captured", { actionId: action.id, detail: captured });
    add(toMs(action.issuedAt), "issued", { actionId: action.id });
    const detail = `${actionStateWord(action.state)}${action.reason ? `: ${action.reason}` : ""}`;
    add(toMs(action.settledAt), "settled", { actionId: action.id, by: action.deniedBy || null, detail, logIndex: Number(action.logIndex) });
  }
  for (const { atMs, ...more } of exceptions.flatMap((exception) => stepsOf(exception, drift.id))) add(atMs, more.what, more);
  add(toMs(drift.resolvedAt), "resolved");
  return events;
}

type Step = Pick<TimelineEvent, "what" | "by" | "detail"> & { readonly atMs: number | undefined };

/** Of a drift that it was not asked for from, what it means to that alone. */
function stepsOf({ id, driftId, state, reason, decision, ...exception }: Exception, of: string): Step[] {
  const denied = state === "denied";
  const asked: Step = { what: "exception", atMs: toMs(exception.requestedAt), by: exception.requestedBy, detail: `${id}: ${reason}` };
  const decided: Step = {
    ...{ what: denied ? "not-excused" : "excused", atMs: toMs(exception.decidedAt), by: exception.decidedBy },
    detail: denied ? `${id}: ${decision}` : id,
  };
  const over = state === "expired" ? "it has ended" : decision;
  const ended: Step = { what: "excuse-over", atMs: toMs(exception.endedAt), by: exception.endedBy || null, detail: `${id}: ${over}` };
  return [...(driftId === of ? [asked] : []), decided, ended];
}
