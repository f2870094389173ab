/** What a node serves to containers that is not the image's: a layer, the engine's own, an image's configuration, a container past its runtime. Pure. */

import { Severity, Verdict } from "@hullmark/proto/v1/common";
import { DriftState } from "@hullmark/proto/v1/query";
import type { DriftRow, WorkloadRow } from "../../ports/rows.ts";
import type { StoppedContainer } from "../../ports/stopped-told.ts";
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
 * stands on it has been judged since, and all its content is as signed; an image's configuration, where one of that image has, and the node's copy was read for it: of one that
 * was taken away nothing is told. What was of one container alone went with it.
 * @param drifts of one node, of any state @param workloads of that node @param chainsOf an image's layers' chain ids, lowest first; empty: not known, and then it is not well
 */
export function unhealed(
  drifts: readonly DriftRow[],
  workloads: readonly Pick<WorkloadRow, "containerId" | "configDigest" | "configEqual" | "appraised" | "appraisedAtMs">[],
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
        (reason === "layer" || each.configEqual) &&
        (each.containerId === containerId ||
          (each.appraisedAtMs >= resolvedAtMs &&
            (each.configDigest === configDigest || (chain !== undefined && chainsOf(each.configDigest)[layerIndex] === chain)))),
    );
  });
}

/** What stands on what a node serves that is not as signed. */
export interface AffectedLayer {
  readonly place: PoisonReason;
  /** 0 lowest; of an image's configuration that of its last layer; -1: no layer of an image. */
  readonly layerIndex: number;
  /** Of all the layers up to that one; empty: not known, or no layer. */
  readonly chainId: string;
  readonly open: boolean;
  readonly driftIds: readonly string[];
  readonly containers: readonly string[];
  readonly images: readonly string[];
  /** Names of those that do not run, as far as the node was asked, and told. */
  readonly stopped: readonly string[];
  /** How many there are besides those that are listed. */
  readonly moreDrifts: number;
  readonly moreContainers: number;
  readonly moreImages: number;
  readonly moreStopped: number;
}

const MAX_IDS = 16;
const MAX_NAMES = 100;

/**
 * @param drifts {@link openPoison} of a node, and what is {@link unhealed} of it @param workloads of that node @param images that are known, whichever nodes run them
 * @param notRunning containers of that node
 * @returns one a directory, configuration or container, in the order of the drifts
 */
export function affectedBy(
  drifts: readonly DriftRow[],
  workloads: readonly Pick<WorkloadRow, "containerId" | "containerName" | "configDigest">[],
  images: readonly { readonly configDigest: string; readonly references: readonly string[] }[],
  chainsOf: (configDigest: string) => readonly string[],
  notRunning: readonly StoppedContainer[] = [],
): AffectedLayer[] {
  const chainOf = (drift: DriftRow): string => chainsOf(drift.configDigest)[levelOf(drift, chainsOf)] ?? "";
  const groups = Map.groupBy(drifts, (drift) => `${poisonOf(drift)} ${poisonOf(drift) === "image" ? drift.configDigest : chainOf(drift) || drift.containerId}`);
  return [...groups.values()].flatMap((group): AffectedLayer[] => {
    const [first] = group;
    const place = first && poisonOf(first);
    if (!first || !place) return [];
    const layerIndex = levelOf(first, chainsOf);
    const [chainId, own] = [chainOf(first), new Set(group.map(({ containerId }) => containerId))];
    const standsOn = (configDigest: string): boolean =>
      chainId !== "" ? chainsOf(configDigest)[layerIndex] === chainId : place === "image" && configDigest === first.configDigest;
    const containers = distinct(workloads.filter((each) => own.has(each.containerId) || standsOn(each.configDigest)).map(({ containerName }) => containerName));
    const references = distinct(images.filter(({ configDigest }) => standsOn(configDigest)).flatMap(({ references }) => references));
    const stopped = distinct(notRunning.filter(({ configDigests }) => configDigests.some(standsOn)).map(({ name }) => name));
    return [
      {
        ...{ place, layerIndex, chainId, open: group.some(({ state }) => state === DriftState.OPEN) },
        ...{ driftIds: group.map(({ id }) => id).slice(0, MAX_IDS), moreDrifts: beyond(group, MAX_IDS) },
        ...{ containers: containers.slice(0, MAX_NAMES), moreContainers: beyond(containers, MAX_NAMES) },
        ...{ images: references.slice(0, MAX_NAMES), moreImages: beyond(references, MAX_NAMES) },
        ...{ stopped: stopped.slice(0, MAX_NAMES), moreStopped: beyond(stopped, MAX_NAMES) },
      },
    ];
  });
}

/** The layer that has to go for it: an image's configuration stands on all its layers. -1: none, or not known. */
export function levelOf(
  drift: Pick<DriftRow, "containerId" | "place" | "kind" | "layerIndex" | "configDigest">,
  chainsOf: (configDigest: string) => readonly string[],
): number {
  return poisonOf(drift) === "image" ? chainsOf(drift.configDigest).length - 1 : drift.layerIndex;
}

function distinct(names: readonly string[]): string[] {
  return [...new Set(names)].sort();
}

function beyond({ length }: readonly unknown[], shown: number): number {
  return Math.max(0, length - shown);
}
