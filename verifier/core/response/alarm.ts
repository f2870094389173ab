/** One page where the breaker trips: a hundred containers that may not be acted on are one thing to look at. Pure. */
import { ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow } from "../../ports/rows.ts";
import type { AlertSubject } from "../alerting/subject.ts";
import type { Held } from "./decide.ts";

/** The alert ends when nothing has been held back for so long: the restart of a verifier, whose nodes are judged anew, is not a second page. */
export const QUIET_MS = 600_000;

/** What holds back for its limits, and is told of. */
export const BREAKING: readonly Held[] = ["breaker", "recurring", "containment-failed"];

export interface Alarm {
  /** undefined: this process has not said yet; one that ran before may have. */
  readonly open: boolean | undefined;
  /** Since when nothing has been held back, Unix milliseconds; undefined: something is. */
  readonly quietSinceMs: number | undefined;
}

export const UNKNOWN_ALARM: Alarm = { open: undefined, quietSinceMs: undefined };

export interface AlarmFacts {
  readonly enforcing: boolean;
  readonly held: Readonly<Partial<Record<Held, number>>>;
  /** Containers are still to be looked at. */
  readonly looking: boolean;
  readonly history: Iterable<Pick<ActionRow, "state" | "reason" | "settledAtMs">>;
}

/** @returns how the alarm stands; where `open` differs from before, people are to be told */
export function nextAlarm(before: Alarm, { enforcing, held, looking, history }: AlarmFacts, nowMs: number): Alarm {
  if (enforcing && (BREAKING.some((why) => (held[why] ?? 0) > 0) || refusedLately(history, nowMs))) return { open: true, quietSinceMs: undefined };
  // Containers of a node that is not attested are held whatever they are like; a node that stays away must not keep the alert open.
  // Nor does what is contained, and only waits to climb; nor what no other node bears out; nor what people alone can mend.
  const { "node-not-attested": _any, isolated: _contained, "one-node": _one, "same-image": _same, "higher-risk": _risk, "given-up": _vain, ...waiting } = held;
  if (enforcing && (looking || Object.keys(waiting).length > 0)) return { open: before.open, quietSinceMs: undefined };
  // A clock that was set back begins anew.
  const quietSinceMs = Math.min(before.quietSinceMs ?? nowMs, nowMs);
  return { open: nowMs - quietSinceMs >= QUIET_MS ? false : before.open, quietSinceMs };
}

/** The limits of a host have held an action back, though policy's own had not. */
function refusedLately(history: AlarmFacts["history"], nowMs: number): boolean {
  for (const { state, reason, settledAtMs } of history)
    if (state === ActionState.REFUSED && reason === "breaker" && settledAtMs !== undefined && nowMs - settledAtMs < QUIET_MS) return true;
  return false;
}

/** @param verifierId whose alert it is @param words what the breaker holds back, as a sentence, and which layers are poisoned still; empty: nothing of policy's */
export function alarmSubject(
  verifierId: string,
  open: boolean,
  words: { readonly waiting: string; readonly uncontained: string },
  nowMs: number,
): AlertSubject {
  return {
    ...{
      driftId: `breaker-${verifierId}`,
      state: open ? "open" : "resolved",
      kind: "breaker",
      place: words.uncontained === "" ? "node" : "layer",
      severity: "critical",
      nodeName: verifierId,
    },
    ...{
      incident: "",
      image: "",
      workload: "",
      imageReference: "",
      containerName: "",
      path: new Uint8Array(0),
      layerIndex: -1,
      layerHistory: "",
      actor: undefined,
      provenance: "",
    },
    summary: summaryOf(words),
    ...{ sinceMs: nowMs, logIndex: -1 },
  };
}

function summaryOf({ waiting, uncontained }: { readonly waiting: string; readonly uncontained: string }): string {
  if (uncontained !== "") return uncontained;
  return waiting !== ""
    ? `more is to be acted on than policy allows: ${waiting}`
    : "a host, or the cluster's actuator, allows no more actions within this hour";
}
