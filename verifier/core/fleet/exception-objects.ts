/** That a team's exception in the cluster ends soon, as people are told of those that they asked for at the verifier. Pure: which are open stands with the alerts. */
import type { AlertSubject } from "../alerting/subject.ts";
import type { JudgedException } from "../policy/exception.ts";

const DAY_MS = 86_400_000;
/** People are reminded so long before the end, or when three quarters of a shorter life are over. */
export const REMIND_MS = 2 * DAY_MS;
/** Whoever may write objects in a namespace can make them by the hundred: what lives shorter pages nobody. */
const MIN_LIFE_MS = DAY_MS;
const PREFIX = "driftexception-";

/** The object, and what is made of it now. */
export interface ExceptionOfTeam {
  readonly namespace: string;
  readonly name: string;
  /** By the API server's clock. */
  readonly createdMs: number;
  readonly judged: JudgedException;
}

/**
 * What is to be told of anew: those that end soon, and those of which that is over: they ended, are gone, or last longer now.
 * @param all that the cluster has @param held ids of what holds an alert open
 */
export function teamReminders(all: readonly ExceptionOfTeam[], held: Iterable<string>, nowMs: number): AlertSubject[] {
  const open = new Set([...held].filter((id) => id.startsWith(PREFIX)));
  const due = all.flatMap((each) => ending(each, nowMs) ?? []);
  const still = new Set(due.map(({ driftId }) => driftId));
  const over = [...open].filter((id) => !still.has(id)).map((driftId) => subject(driftId, "resolved", nowMs));
  return [...due.filter(({ driftId }) => !open.has(driftId)), ...over];
}

function ending({ namespace, name, createdMs, judged }: ExceptionOfTeam, nowMs: number): AlertSubject | undefined {
  if (!judged.inForce) return undefined;
  const { mutable, expiresMs, reason } = judged;
  const lifeMs = expiresMs - createdMs;
  if (lifeMs < MIN_LIFE_MS || nowMs < expiresMs - Math.min(REMIND_MS, lifeMs / 4)) return undefined;
  const { paths, select } = mutable;
  const [path = ""] = paths.length === 1 ? paths : [];
  const summary = `DriftException ${name} in ${namespace} ends at ${new Date(expiresMs).toISOString()}, and what it lets differ is drift again: ${paths.join(", ").slice(0, 200)} (${reason})`;
  return { ...subject(`${PREFIX}${namespace}/${name}`, "open", nowMs), workload: select.workloads[0] ?? "", path: Buffer.from(path), summary };
}

function subject(driftId: string, state: "open" | "resolved", nowMs: number): AlertSubject {
  return {
    ...{ driftId, incident: "", image: "", state, kind: "exception-ending", place: "configuration", severity: "medium" },
    ...{ nodeName: "", workload: "", imageReference: "", containerName: "", path: new Uint8Array(0), summary: "" },
    ...{ layerIndex: -1, layerHistory: "", actor: undefined, provenance: "", sinceMs: nowMs, logIndex: -1 },
  };
}
