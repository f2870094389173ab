/** Drifts as findings for {@link sarifLog}. Pure. */

import { Severity } from "@hullmark/proto/v1/common";
import { type Drift, DriftState } from "@hullmark/proto/v1/query";
import { phraseOf, playbookOf } from "@hullmark/verifier/core/alerting/text";
import type { Called } from "../kubectl/invocation.ts";
import type { SarifFinding } from "./sarif.ts";
import { pathWord, severityWord, stateWord } from "./words.ts";

const NO_SOURCE = { repository: "", commit: "" };

export const driftFindings = (drifts: readonly Drift[], command: Called): SarifFinding[] => drifts.map((drift) => finding(drift, command));

function finding(drift: Drift, command: Called): SarifFinding {
  const { id, kind, state, path, origin, summary, workload, containerName, nodeName, imageReference, configDigest, provenance, exception } = drift;
  const { acknowledgedBy, acknowledgedReason, differences, seen } = drift;
  const subject = workload || containerName || nodeName;
  const file = path.length > 0 ? `${pathWord(path, 1000)} ` : "";
  const told = state === DriftState.NOTICE && exception === "";
  return {
    ...{ rule: kind, ruleText: `${kind}: ${phraseOf(kind)}`, help: `docs/drift-kinds.md, ${playbookOf(kind)}` },
    level: told ? "none" : drift.severity >= Severity.HIGH ? "error" : drift.severity === Severity.MEDIUM ? "warning" : "note",
    text: `${subject}: ${file}${phraseOf(kind)}: ${summary} (${command} drift explain ${id})`,
    path,
    places: [
      ["workload", workload],
      ["container", containerName],
      ["node", nodeName],
      ["image", imageReference],
      ["imageConfigDigest", configDigest],
    ],
    // The same on another node, of a later build and after a restart: ids, digests and pods' names are not in it.
    identity: [subject, origin?.place ?? "", kind, Buffer.from(path).toString("hex"), ...differences.map(({ field }) => field).toSorted()],
    suppressed: exception
      ? `excused by ${exception}`
      : state === DriftState.ACKNOWLEDGED
        ? `acknowledged by ${acknowledgedBy}: ${acknowledgedReason}`
        : undefined,
    gone: state === DriftState.RESOLVED,
    properties: {
      ...{ drift: id, state: stateWord(state), severity: severityWord(drift.severity), place: origin?.place ?? "", seen },
      ...(origin && origin.layerIndex >= 0 && { layer: String(origin.layerIndex), buildStep: origin.history }),
    },
    source: provenance ? { repository: provenance.sourceRepository, commit: provenance.commit } : NO_SOURCE,
  };
}
