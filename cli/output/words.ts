/** Enums, times and people in the words that tables use. */
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { CaptureTeller } from "@hullmark/proto/v1/capture";
import { type Actor, ActorEntry, type Severity, type TrustLevel, type Verdict } from "@hullmark/proto/v1/common";
import { type Drift, type DriftState, ProvenanceStatus } from "@hullmark/proto/v1/query";
import type { Action, ActionKind, ActionState, NodeMark } from "@hullmark/proto/v1/response";
import { entryWords } from "@hullmark/verifier/core/appraisal/actor";
import { printable } from "@hullmark/verifier/core/text/printable";

/** Four for each of 16 KiB and more. */
export const MAX_PATH_CHARACTERS = 70_000;

const SEVERITIES: Record<Severity, string> = { 0: "?", 1: "info", 2: "low", 3: "med", 4: "high", 5: "crit" };
const SEVERITY_TITLES: Record<Severity, string> = { 0: "?", 1: "INFO", 2: "LOW", 3: "MEDIUM", 4: "HIGH", 5: "CRITICAL" };
const VERDICTS: Record<Verdict, string> = { 0: "?", 1: "affirming", 2: "warning", 3: "contraindicated", 4: "unknown" };
const STATES: Record<DriftState, string> = { 0: "?", 1: "open", 2: "acknowledged", 3: "resolved", 4: "notice" };
const TRUST: Record<TrustLevel, string> = { 0: "?", 1: "none", 2: "tpm (tofu)", 3: "tpm" };
const PROVENANCE: Record<ProvenanceStatus, string> = {
  0: "?",
  1: "signed",
  2: "unsigned",
  3: "wrong key",
  4: "other digest",
  5: "moved tag",
  6: "attestation only",
  7: "malformed",
  8: "unknown",
  9: "revoked",
  10: "attestation missing",
};

const ACTION_KINDS: Record<ActionKind, string> = {
  0: "?",
  1: "stop",
  2: "recreate",
  3: "rollback",
  4: "mark node",
  5: "lift node",
  6: "evict",
  7: "halt",
  8: "isolate",
  9: "release",
  10: "purge",
};
const ACTION_STATES: Record<ActionState, string> = {
  0: "?",
  1: "awaiting",
  2: "issued",
  3: "done",
  4: "failed",
  5: "refused",
  6: "expired",
  7: "denied",
  8: "withdrawn",
  9: "dry-run",
  10: "capturing",
};

const ENTRIES: Record<ActorEntry, string> = { 0: "?", 1: "main", 2: "exec", 3: "joined" };

/** Whose word it is what was captured. */
const CAPTURE_TELLERS: Record<CaptureTeller, string> = { 0: "actuator", 1: "actuator", 2: "node" };
export const captureTellerWord = (teller: CaptureTeller): string => CAPTURE_TELLERS[teller];

/** `captured 3 files, 2 processes`; undefined: nothing was, nor was it asked for. */
export function captureWords({ capture, captureMissed, captureProblem }: Pick<Action, "capture" | "captureMissed" | "captureProblem">): string | undefined {
  if (!capture) return captureMissed ? `capture missed: ${captureMissed}${captureProblem && ` (${captureProblem})`}` : undefined;
  const partial = capture.complete ? "" : ", not all of it";
  // Of several containers that stand on one layer some may have been captured.
  const missed = captureMissed ? `; nothing of ${captureProblem}` : "";
  return `captured ${capture.files} files, ${capture.processes} processes${partial}, as its ${captureTellerWord(capture.teller)} says${missed}`;
}

const NODE_MARKS: Record<NodeMark, string> = { 0: "?", 1: "label", 2: "taint", 3: "cordon" };

export const nodeMarkWords = (marks: readonly NodeMark[]): string[] => marks.map((mark) => NODE_MARKS[mark]);
export const actionKindWord = (kind: ActionKind): string => ACTION_KINDS[kind];
export const actionStateWord = (state: ActionState): string => ACTION_STATES[state];
/** How a process came into its container. */
export const entryWord = (entry: ActorEntry): string => ENTRIES[entry];
export const severityWord = (severity: Severity): string => SEVERITIES[severity];
/** For headings; alerts say the same. */
export const severityTitle = (severity: Severity): string => SEVERITY_TITLES[severity];
export const verdictWord = (verdict: Verdict): string => VERDICTS[verdict];
export const stateWord = (state: DriftState): string => STATES[state];
export const trustWord = (level: TrustLevel): string => TRUST[level];
export const provenanceWord = (status: ProvenanceStatus | undefined): string => PROVENANCE[status ?? ProvenanceStatus.UNKNOWN];

export function toMs(time: Timestamp | undefined): number | undefined {
  return time ? Number(time.seconds) * 1000 + time.nanos / 1e6 : undefined;
}

/** RFC 3339, as `-o json` has times; null without one. */
export function isoTime(time: Timestamp | undefined): string | null {
  const ms = toMs(time);
  return ms === undefined ? null : new Date(ms).toISOString();
}

/** `4s`, `12m`, `3h`, `5d`; `-` without a time. */
export function age(time: Timestamp | undefined, nowMs: number): string {
  const ms = toMs(time);
  return ms === undefined ? "-" : ageMs(ms, nowMs);
}

/** The same of Unix milliseconds. */
export function ageMs(ms: number, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - ms) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)}h`;
  return `${Math.round(seconds / 86_400)}d`;
}

/** A path on one line: a long one loses its middle, since its end says most. */
export function pathWord(path: Uint8Array, maxCharacters: number): string {
  const whole = printable(path, MAX_PATH_CHARACTERS);
  if (whole.length <= maxCharacters) return whole;
  const head = Math.floor((maxCharacters - 1) / 3);
  return `${whole.slice(0, head)}…${whole.slice(whole.length - (maxCharacters - 1 - head))}`.toWellFormed();
}

/** Base name of the program, and where it ran: `host:dd`, `dd`. */
export function actorWord(drift: Drift): string {
  const actor = drift.actor;
  if (!actor?.executable) return "-";
  const name = printable(actor.executable.slice(actor.executable.lastIndexOf("/") + 1) || actor.executable, 32);
  return `${actorPlace(actor, drift)}${name}`;
}

/** What stands before the program: nothing for what a container does itself. */
function actorPlace({ located, containerId, containerName, entry }: Actor, { origin, containerId: own }: Drift): string {
  if (!located) return "";
  // A pod's container by its own name: that of the pod stands beside.
  if (containerId !== "" && containerId !== own)
    return `${printable(containerName.slice(containerName.lastIndexOf("/") + 1) || containerId.slice(0, 12), 32)}:`;
  if (entry === ActorEntry.EXEC) return "exec:";
  if (entry === ActorEntry.JOINED) return "joined:";
  // Of what a process is found to run, its container is not told again.
  return containerId === "" && entry === ActorEntry.UNSPECIFIED && origin?.place !== "process" ? "host:" : "";
}

export function actorLine(actor: Actor | undefined): string {
  if (!actor) return "not known (no event told of it, or the process was gone)";
  if (!actor.located) return `${printable(actor.executable, 200)} (pid ${actor.pid}, which ended before more could be read)`;
  const { entry, enteredFrom } = actor;
  const inside = entry === ActorEntry.UNSPECIFIED ? "on the host" : "in the container";
  const where = actor.containerId ? `in container ${printable(actor.containerName || actor.containerId.slice(0, 12), 200)}` : inside;
  const entered = entryWords({ entry, enteredFrom, enteredAtMs: toMs(actor.enteredAt) });
  const parents = actor.ancestry.length > 0 ? `, from ${actor.ancestry.map((name) => printable(name, 32)).join(" < ")}` : "";
  return `${printable(actor.executable, 200)} (pid ${actor.pid}, uid ${actor.uid}) ${where}${parents}${entered === "" ? "" : `, ${entered}`}`;
}

export function imageWord(reference: string, manifestDigest: string): string {
  const digest = /^sha256:([0-9a-f]{8})/.exec(manifestDigest)?.[1];
  return digest ? `${printable(reference, 80)} (${digest}…)` : printable(reference, 80);
}
