/** The page of one drift. */

import { type Drift, DriftState } from "@hullmark/proto/v1/query";
import type { Action } from "@hullmark/proto/v1/response";
import { incidentId } from "@hullmark/verifier/core/incident/incident";
import { isLack, isSilence } from "@hullmark/verifier/core/policy/kinds";
import { printable } from "@hullmark/verifier/core/text/printable";
import type { Called } from "../kubectl/invocation.ts";
import { allowedBy } from "./allowed-by.ts";
import { PLACES, requestCommandOf } from "./drift-explained.ts";
import { handledFields } from "./handled.ts";
import { actorLine, provenanceWord, severityTitle, stateWord, toMs } from "./words.ts";

function clock(ms: number | undefined): string {
  return ms === undefined ? "-" : new Date(ms).toISOString().slice(11, 23);
}

/** @param actions on its container, or because of it, oldest first */
export function showDrift(drift: Drift, actions: readonly Action[], command: Called): string {
  const field = (name: string, text: string): string => `${name.padEnd(7)} ${text}`;
  const place = drift.origin?.place ?? "";
  const lines = [`${severityTitle(drift.severity)}  ${PLACES[place] ?? place}  (${drift.kind}, ${stateWord(drift.state)})`];
  const ofContainer = drift.containerId !== "";
  const container = ofContainer ? `${printable(drift.workload, 80)} · container ${printable(drift.containerName, 80)} · ` : "";
  lines.push(field("Where", `${container}node ${printable(drift.nodeName, 80)}`));
  if (drift.path.length > 0) lines.push(field("File", printable(drift.path, 16384)));
  lines.push(field("What", printable(drift.summary, 1000)));
  for (const { field: name, expected, observed } of drift.differences) {
    const change = `${printable(expected, 400)} → ${printable(observed, 400)}`;
    // The summary shortens digests, and says the rest in full.
    if (!drift.summary.includes(`${name} ${expected} → ${observed}`)) lines.push(field("", `${printable(name, 200)} ${change}`));
  }
  if (drift.origin && drift.origin.layerIndex >= 0)
    lines.push(field("From", `layer ${drift.origin.layerIndex} "${printable(drift.origin.history, 300)}" (${drift.origin.diffId})`));
  if (ofContainer) lines.push(field("Image", `${printable(drift.imageReference, 200)} · config ${drift.configDigest}`));
  if (drift.provenance) lines.push(field("Signed", provenanceLine(drift)));
  if (!isLack(drift.kind)) lines.push(field("Who", actorLine(drift.actor)));
  if (drift.mappedBy.length > 0) lines.push(field("Runs in", drift.mappedBy.map((each) => printable(each, 200)).join(", ")));
  lines.push(field("Time", timeLine(drift)));
  const notBeforeMs = toMs(drift.notBefore);
  if (notBeforeMs !== undefined) lines.push(field("Since", `not before ${new Date(notBeforeMs).toISOString()}: a quote vouched for the state without it`));
  if (drift.acknowledgedBy) lines.push(field("Acked", acknowledgedLine(drift)));
  if (drift.exception) lines.push(field("Excused", `by ${drift.exception}   (${command} exception show ${drift.exception})`));
  lines.push(...handledFields(actions, field));
  lines.push(field("Proof", `${drift.logIndex >= 0n ? `log #${drift.logIndex}` : "not yet in the log"} · incident ${incidentOf(drift)}`));
  const allowed = allowedBy(drift);
  if (allowed !== undefined && isStanding(drift)) lines.push(field("Policy", `${allowed}   (would allow it)`));
  if (drift.state === DriftState.OPEN) lines.push(field("Ack", `${command} drift ack ${drift.id} --seen ${drift.seen} -m REASON`));
  const request = requestCommandOf(drift, command);
  if (drift.state === DriftState.OPEN && request !== undefined) lines.push(field("Excuse", request));
  return `${lines.join("\n")}\n`;
}

function incidentOf({ configDigest, imageReference, path, kind }: Drift): string {
  return incidentId({ image: configDigest || imageReference, path, kind });
}

function acknowledgedLine({ state, acknowledgedBy, acknowledgedReason, acknowledgedAt }: Drift): string {
  const atMs = toMs(acknowledgedAt);
  const when = atMs === undefined ? "" : ` at ${new Date(atMs).toISOString()}`;
  const earlier = state === DriftState.OPEN ? "an earlier state; it has changed since. " : "";
  return `${earlier}${printable(acknowledgedBy, 100)}${when}: ${printable(acknowledgedReason, 500)}`;
}

function provenanceLine({ provenance }: Drift): string {
  if (!provenance) return "-";
  const parts = [provenanceWord(provenance.status), provenance.authorities.length > 0 ? `by ${provenance.authorities.join(", ")}` : provenance.text];
  if (provenance.sourceRepository) parts.push(provenance.sourceRepository);
  if (provenance.commit) parts.push(`commit ${provenance.commit}`);
  if (provenance.builder) parts.push(provenance.builder);
  return parts.map((part) => printable(part, 300)).join(" · ");
}

/** Write → seen → recorded → told, each as a distance from the first. What was measured again since is seen at the first time no more. */
function timeLine(drift: Drift): string {
  const [changedMs, measuredMs, recordedMs] = [toMs(drift.changedAt), toMs(drift.measuredAt), toMs(drift.committedAt)];
  const again = measuredMs !== undefined && recordedMs !== undefined && measuredMs > recordedMs;
  const seenMs = again ? undefined : measuredMs;
  const startMs = changedMs ?? seenMs ?? recordedMs;
  const after = (ms: number | undefined, word: string): string =>
    ms === undefined || startMs === undefined || ms === startMs ? "" : ` · ${word} +${((ms - startMs) / 1000).toFixed(3)}s`;
  const first = changedMs !== undefined ? (isSilence(drift.kind) ? "last heard" : "write") : seenMs !== undefined ? "seen" : "recorded";
  const last = `${again ? after(measuredMs, "measured again") : ""}${after(toMs(drift.resolvedAt), "resolved")}`;
  return `${first} ${clock(startMs)}${after(seenMs, "seen")}${after(recordedMs, "recorded")}${after(toMs(drift.alertedAt), "told")}${last}`;
}

const isStanding = ({ state }: Drift): boolean => state === DriftState.OPEN || state === DriftState.ACKNOWLEDGED;
