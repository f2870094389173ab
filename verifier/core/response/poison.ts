/** What a node serves to containers that is not the image's: a layer, the engine's own, an image's configuration, a container past its runtime. Pure. */

import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import type { DriftRow, WorkloadRow } from "../../ports/rows.ts";
import { causeOf } from "./causes.ts";

/** As policy names it among the `reasons` of a node's rule. */
export const POISON_REASONS = ["layer", "runtime-layer", "image", "unlisted"] as const;
type PoisonReason = (typeof POISON_REASONS)[number];

/** undefined: it is no fault of the node's that a container of it told of. */
export function poisonOf(drift: Pick<DriftRow, "containerId" | "place" | "kind">): PoisonReason | undefined {
  if (drift.containerId === "" || causeOf(drift) !== "node") return undefined;
  return drift.kind === "unlisted" ? "unlisted" : POISON_REASONS.find((reason) => reason === drift.place);
}

/** Those that contradict: open, not acknowledged, and no mere notice or warning by policy's severities. @param drifts of one node */
export function openPoison(drifts: readonly DriftRow[]): DriftRow[] {
  return drifts.filter((each) => each.state === DriftState.OPEN && each.severity >= Severity.MEDIUM && poisonOf(each) !== undefined);
}

/**
 * Of what is over, that of which nothing says that it is well: its containers have gone, and the directory may be as it was. A layer is well once a container that
 * stands on it has been judged since, and all its content is as signed; so is an image's configuration. What was of one container alone went with it.
 * @param drifts of one node, of any state @param workloads of that node @param chainsOf an image's layers' chain ids, lowest first; empty: not known, and then it is not well
 */
export function unhealed(
  drifts: readonly DriftRow[],
  workloads: readonly Pick<WorkloadRow, "containerId" | "configDigest" | "appraised" | "appraisedAtMs">[],
  chainsOf: (configDigest: string) => readonly string[],
): DriftRow[] {
  const well = workloads.filter(({ appraised }) => appraised.content === Verdict.AFFIRMING);
  return drifts.filter((drift) => {
    const reason = poisonOf(drift);
    if (drift.state !== DriftState.RESOLVED || drift.severity < Severity.MEDIUM || (reason !== "layer" && reason !== "image")) return false;
    const { layerIndex, configDigest, containerId, resolvedAtMs = 0 } = drift;
    const chain = reason === "layer" && layerIndex >= 0 ? chainsOf(configDigest)[layerIndex] : undefined;
    return !well.some(
      (each) =>
        each.containerId === containerId ||
        (each.appraisedAtMs >= resolvedAtMs &&
          (each.configDigest === configDigest || (chain !== undefined && chainsOf(each.configDigest)[layerIndex] === chain))),
    );
  });
}
