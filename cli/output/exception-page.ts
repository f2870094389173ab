/** An exception as people read it, and as data. */
import type { Drift, Exception } from "@hullmark/proto/v1/query";
import { whyNotExcusable } from "@hullmark/verifier/core/policy/excusable";
import { printable } from "@hullmark/verifier/core/text/printable";
import { isoTime, MAX_PATH_CHARACTERS, pathWord, severityWord, toMs } from "./words.ts";

export const HEADERS: readonly string[] = ["EXCEPTION", "STATE", "WORKLOAD", "WHAT", "ENDS", "ASKED BY", "DECIDED BY", "WHY"];
const MAX_SHOWN = 20;

/** Why no exception can be had for it as it is, in the verifier's words; undefined: one can be asked for. */
export function whyNoException({ containerId, containerName, workload, configDigest, kind, differences, origin }: Drift): string | undefined {
  return whyNotExcusable({ containerId, containerName, workload, configDigest, kind, differences, place: origin?.place ?? "" });
}

export function exceptionRow({ id, state, workload, containerName, path, scope, until, requestedBy, decidedBy, reason }: Exception, nowMs: number): string[] {
  const what = scope?.pathGlob ? printable(scope.pathGlob, 60) : path.length > 0 ? pathWord(path, 60) : `${scope?.place}/${scope?.kind}`;
  const leftMs = (toMs(until) ?? nowMs) - nowMs;
  const left = leftMs >= 2 * 86_400_000 ? `${Math.floor(leftMs / 86_400_000)}d` : `${Math.max(0, Math.ceil(leftMs / 3_600_000))}h`;
  const ends = state === "requested" || state === "approved" ? `in ${left}` : (isoTime(until)?.slice(0, 10) ?? "-");
  const where = printable(scope?.service || workload || containerName, 40);
  return [id, state, where, what, ends, printable(requestedBy, 40), printable(decidedBy, 40) || "-", printable(reason, 60)];
}

export function exceptionPage(exception: Exception, touched: readonly Drift[]): string {
  const { id, state, driftId, nodeName, containerName, imageReference, summary, reason, decidedBy, decidedAt, decision, endedBy } = exception;
  const field = (name: string, text: string): string => `${name.padEnd(8)} ${text}`;
  const lines = [
    `${id}  ${state}, until ${isoTime(exception.until)}`,
    field("Drift", `${driftId}: ${printable(containerName, 120)} on ${printable(nodeName, 80)}, ${printable(summary, 400)}`),
    ...coverOf(exception).map(([name, text]) => field(name, text)),
    field("Seen in", printable(imageReference, 200)),
    field("Why", printable(reason, 500)),
    field("Asked", `by ${printable(exception.requestedBy, 100)} at ${isoTime(exception.requestedAt)}`),
    ...(decidedBy ? [field("Decided", `${state === "denied" ? "denied" : "approved"} by ${printable(decidedBy, 100)} at ${isoTime(decidedAt)}`)] : []),
    ...(endedBy ? [field("Revoked", `by ${printable(endedBy, 100)} at ${isoTime(exception.endedAt)}`)] : []),
    ...(decision ? [field("Because", printable(decision, 500))] : []),
    ...(exception.remindedAt ? [field("Ending", `people were reminded at ${isoTime(exception.remindedAt)}`)] : []),
    ...touched
      .slice(0, MAX_SHOWN)
      .map((drift, i) => field(i === 0 ? "Excuses" : "", `${drift.id}  ${printable(`${drift.nodeName}/${drift.containerName}`, 120)}`)),
    ...(touched.length > MAX_SHOWN ? [field("", `… and ${touched.length - MAX_SHOWN} more`)] : []),
  ];
  return `${lines.join("\n")}\n`;
}

/** What it excuses and no more, a name and a printable text each. */
export function coverOf({ path, scope }: Exception): [name: string, text: string][] {
  if (!scope) return [];
  const { workloads, containers, service, place, kind, severity, pathGlob, observed, configDigest } = scope;
  const names = (globs: readonly string[]): string => globs.map((glob) => printable(glob, 200)).join(", ");
  return [
    ["Covers", `${place}/${kind}, ${severityWord(severity)} and less`],
    ...(pathGlob || path.length > 0 ? [["Path", pathGlob ? `${printable(pathGlob, 1000)} (a pattern)` : printable(path, 1000)] as [string, string]] : []),
    ["Content", observed ? `as it was seen (sha256:${observed.slice(0, 16)}… over all that differs)` : "whatever these files hold; none that can be executed"],
    ["Workload", [names(workloads), names(containers)].filter((each) => each !== "").join(" · container ")],
    ...(service ? [["Service", `${printable(service, 200)} alone`] as [string, string]] : []),
    ["Image", configDigest ? `config ${printable(configDigest, 100)} alone` : "any, later ones too"],
  ];
}

/** Stable: fields are added, never changed. */
export function exceptionView(exception: Exception): object {
  const { id, state, driftId, nodeName, workload, containerName, imageReference, path, summary, scope, reason, requestedBy, decidedBy, decision, endedBy } =
    exception;
  const covers = scope && {
    ...{ workloads: scope.workloads, containers: scope.containers, place: scope.place, kind: scope.kind, severity: severityWord(scope.severity) },
    ...{ pathGlob: scope.pathGlob || null, observed: scope.observed ? `sha256:${scope.observed}` : null, config: scope.configDigest || null },
    service: scope.service || null,
  };
  return {
    ...{
      id,
      state,
      drift: driftId,
      node: nodeName,
      workload,
      container: containerName,
      image: imageReference,
      path: printable(path, MAX_PATH_CHARACTERS),
      summary,
    },
    ...{ covers: covers ?? null, reason, requestedBy, requestedAt: isoTime(exception.requestedAt), until: isoTime(exception.until) },
    ...{
      decidedBy: decidedBy || null,
      decidedAt: isoTime(exception.decidedAt),
      decision: decision || null,
      endedBy: endedBy || null,
      endedAt: isoTime(exception.endedAt),
    },
    remindedAt: isoTime(exception.remindedAt),
  };
}
