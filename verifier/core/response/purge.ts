/** Purges: a layer that a node serves otherwise than signed is taken off it, with all that stands on it, by people's word: by a Docker host's actuator, or by them; and what is seen of it after that. Pure. */
import { Verdict } from "@hullmark/proto/v1/common";
import { ActionKind, ActionState, Outcome } from "@hullmark/proto/v1/response";
import type { ActionRow, DriftRow, NodeRow, PurgeRow, WorkloadRow } from "../../ports/rows.ts";
import { isAttested } from "../fleet/census.ts";
import { selects } from "../policy/match.ts";
import type { Policy } from "../policy/types.ts";
import { isFrozen } from "./decide.ts";
import { nodeRuleFor } from "./decide-node.ts";
import { type AffectedLayer, levelOf } from "./poison.ts";
import { actionId, reported } from "./steps.ts";

/** Why a purge failed that was carried out: the layer is there as before. A code of docs/response.md. */
export const CONTAINMENT_FAILED = "containment-failed";
/** It was carried out, and nothing has shown yet what is served now. */
export const MEASURING = "measuring";
/** It was carried out, and ends with nothing measured since. */
const NOT_MEASURED = "not-measured";
/** So long it is waited for a container on that layer; without one the node stays marked, and no more is said. */
export const MEASURING_MS = 86_400_000;
/** What an actuator takes. */
const MAX_IMAGES = 40;
const IMAGE_ID = /^sha256:[0-9a-f]{64}$/;

export type Chains = (configDigest: string) => readonly string[];
type Of = Pick<WorkloadRow, "configDigest">;

/** @param layer a chain id, or the index of the one affected layer that has it @returns in words why none is meant */
export function affectedLayer(affected: readonly AffectedLayer[], layer: string): AffectedLayer | string {
  const layers = affected.filter(({ place, chainId }) => (place === "layer" || place === "image") && chainId !== "");
  const found = layers.filter(({ chainId, layerIndex }) => chainId === layer || String(layerIndex) === layer);
  const first = found.find(({ place }) => place === "layer") ?? found[0];
  if (first && found.every(({ chainId }) => chainId === first.chainId)) return first;
  return first ? `${found.length} layers of index ${layer} are affected: name its chain id` : "no layer of that index or chain id is affected there";
}

/** What purges that contained nothing left, besides what is affected in any case. @param rows {@link uncontained} of a node */
export function leftLayers(rows: readonly ActionRow[], affected: readonly AffectedLayer[]): AffectedLayer[] {
  return rows.flatMap(({ purge, driftId }): AffectedLayer[] => {
    if (!purge || affected.some(({ chainId }) => chainId === purge.chainId)) return [];
    const { chainId, layerIndex, configDigest } = purge;
    const driftIds = driftId === "" ? [] : [driftId];
    const nothing = { containers: [], images: [], stopped: [], moreDrifts: 0, moreContainers: 0, moreImages: 0, moreStopped: 0 };
    return [{ place: configDigest === undefined ? "layer" : "image", layerIndex, chainId, open: false, driftIds, ...nothing }];
  });
}

export interface PurgeSituation {
  readonly policy: Pick<Policy, "mode" | "response">;
  readonly node: Pick<NodeRow, "id" | "name" | "verdict" | "revokedAtMs">;
  readonly paused: boolean;
  /** The node's own actuator listens. */
  readonly actuator: boolean;
  readonly nowMs: number;
}

/** @returns code of what holds it back */
export function purgeHeldBy({ policy, node, paused, actuator, nowMs }: PurgeSituation): string | undefined {
  if (policy.mode !== "enforce") return policy.mode;
  if (node.revokedAtMs !== undefined || !isAttested(node.verdict)) return "node-not-attested";
  if (paused) return "paused";
  if (isFrozen(policy, nowMs)) return "frozen";
  return actuator ? undefined : "no-actuator";
}

/**
 * What stands on the layer now, by all that is known: an intent names no less, so that it need not be asked for again, and no more.
 * @param before images that an earlier purge of it named, where none is known any more @returns undefined: none, or too many
 */
export function purgeOf(
  { chainId, layerIndex }: Pick<AffectedLayer, "chainId" | "layerIndex">,
  workloads: readonly Pick<WorkloadRow, "containerId" | "configDigest" | "imageId">[],
  images: readonly Of[],
  chainsOf: Chains,
  before: readonly string[] = [],
): PurgeRow | undefined {
  const standsOn = ({ configDigest }: Of): boolean => chainsOf(configDigest)[layerIndex] === chainId;
  const own = workloads.filter(standsOn);
  const ids = [...images.filter(standsOn), ...own].map(({ configDigest }) => configDigest);
  const named = [...new Set([...ids, ...own.map(({ imageId }) => imageId ?? "")])].filter((each) => IMAGE_ID.test(each)).sort();
  const imageDigests = named.length > 0 ? named : before;
  if (imageDigests.length === 0 || imageDigests.length > MAX_IMAGES) return undefined;
  return { chainId, layerIndex, imageDigests, containerIds: own.map(({ containerId }) => containerId) };
}

export function newPurge(
  number: number,
  { policy, node }: Pick<PurgeSituation, "policy" | "node">,
  purge: PurgeRow,
  drift: DriftRow | undefined,
  workloads: readonly WorkloadRow[],
  word: { readonly by: string; readonly reason: string },
  nowMs: number,
): ActionRow {
  const rule = nodeRuleFor(policy, node.name);
  return {
    ...{ id: actionId(number), number, kind: ActionKind.PURGE, state: ActionState.AWAITING, nodeId: node.id, nodeName: node.name },
    ...{ containerId: "", containerName: "", workload: "", imageReference: drift?.imageReference ?? "", configDigest: "", newContainerId: "", logIndex: -1 },
    ...{ driftId: drift?.id ?? "", driftLogIndex: drift?.logIndex ?? -1, rule: rule?.name ?? "", createdAtMs: nowMs, purge },
    ...{ issuedAtMs: undefined, expiresAtMs: undefined, intent: undefined, settledAtMs: undefined, deniedBy: "", reason: "", detail: word.reason },
    owners: purgeOwners(policy, node.name, purge, workloads),
    ...{ approvalsNeeded: purgeApprovals(policy, node.name), approvals: [{ by: word.by, atMs: nowMs }] },
  };
}

/** One that people have carried out themselves. It vouches for nothing: what is measured from now on decides. No actuator is asked, and no limit counts it. */
export function purgedByHand(row: ActionRow, nowMs: number): ActionRow {
  if (!row.purge) return row;
  const purge = { ...row.purge, purgedAtMs: nowMs, byHand: true };
  return { ...row, state: ActionState.ISSUED, reason: MEASURING, owners: [], approvalsNeeded: 1, purge };
}

/** People whose word policy asks for. */
export function purgeApprovals(policy: Pick<Policy, "response">, nodeName: string): number {
  return Math.max(1, nodeRuleFor(policy, nodeName)?.approvals ?? 1);
}

/** Managers whose containers the rule of each of those that stand on the layer lets us act on. */
export function purgeOwners({ response }: Pick<Policy, "response">, nodeName: string, { containerIds }: PurgeRow, workloads: readonly WorkloadRow[]): string[] {
  const own = workloads.filter(({ containerId }) => containerIds.includes(containerId));
  const each = own.map((row) => new Set(response.rules.find(({ select }) => selects({ ...select, labels: {} }, { ...row, labels: {}, nodeName }))?.owners));
  const [first, ...others] = each;
  return [...(first ?? [])].filter((owner) => others.every((owners) => owners.has(owner)));
}

/**
 * What an actuator told of it: that it is gone is not yet the end. @param underWay of this layer: where that is another, this one's report came late, and what is measured ends the other
 * @returns undefined: it says nothing new, or no outcome
 */
export function reportedPurge(row: ActionRow, report: Parameters<typeof reported>[1], nowMs: number, underWay?: Pick<ActionRow, "id">): ActionRow | undefined {
  const next = row.purge?.purgedAtMs === undefined ? reported(row, report, nowMs) : undefined;
  if (!next || !row.purge || report.outcome !== Outcome.DONE) return next;
  if (underWay && underWay.id !== row.id) return { ...next, reason: NOT_MEASURED, detail: `what is measured of that layer ends ${underWay.id}` };
  return { ...next, state: ActionState.ISSUED, reason: MEASURING, settledAtMs: undefined, purge: { ...row.purge, purgedAtMs: nowMs } };
}

/**
 * How one ends that was carried out. What was there before it is no sign of what is served now. @param poison open drift of the node's layers
 * @returns undefined: nothing has shown it yet
 */
export function endOfPurge(
  { purge, detail }: Pick<ActionRow, "purge" | "detail">,
  poison: readonly DriftRow[],
  workloads: readonly Pick<WorkloadRow, "containerId" | "configDigest" | "configEqual" | "appraised" | "appraisedAtMs">[],
  chainsOf: Chains,
  nowMs: number,
): { readonly state: ActionState; readonly reason: string; readonly detail: string } | undefined {
  if (purge?.purgedAtMs === undefined) return undefined;
  const { purgedAtMs } = purge;
  const again = alterations(purge, poison, chainsOf).find((each) => each.committedAtMs >= purgedAtMs && !purge.containerIds.includes(each.containerId));
  const what = again?.place === "image" ? "the image's configuration" : "the layer";
  if (again) return { state: ActionState.FAILED, reason: CONTAINMENT_FAILED, detail: `containment failed: ${what} is altered again (${again.id})` };
  if (isMeasuredEqual(purge, purgedAtMs, workloads, chainsOf)) return { state: ActionState.DONE, reason: "", detail };
  if (nowMs - purgedAtMs < MEASURING_MS) return undefined;
  return { state: ActionState.DONE, reason: NOT_MEASURED, detail: "nothing was started on that layer within a day: the node stays marked" };
}

/** Of one that failed: whether the layer has been measured equal since its end, and nothing that is open says otherwise. */
export function isWellSince(
  { purge, settledAtMs = 0 }: Pick<ActionRow, "purge" | "settledAtMs">,
  poison: readonly DriftRow[],
  workloads: Parameters<typeof isMeasuredEqual>[2],
  chainsOf: Chains,
): boolean {
  return purge !== undefined && alterations(purge, poison, chainsOf).length === 0 && isMeasuredEqual(purge, settledAtMs, workloads, chainsOf);
}

function alterations(purge: PurgeRow, poison: readonly DriftRow[], chainsOf: Chains): DriftRow[] {
  const ofLayers = poison.filter(({ place }) => place === "layer" || place === "image");
  return ofLayers.filter((each) => levelOf(each, chainsOf) === purge.layerIndex && isOn(purge, each, chainsOf));
}

/** Whether a container on that layer, or of the image whose configuration it is about and was read for it, has been judged since, all content as signed. */
export function isMeasuredEqual(
  purge: PurgeRow,
  sinceMs: number,
  workloads: readonly Pick<WorkloadRow, "configDigest" | "configEqual" | "appraised" | "appraisedAtMs">[],
  chainsOf: Chains,
): boolean {
  const isMeant = (each: Of & Pick<WorkloadRow, "configEqual">): boolean =>
    isOn(purge, each, chainsOf) && (purge.configDigest === undefined || (purge.configDigest === each.configDigest && each.configEqual === true));
  return workloads.some((each) => each.appraised.content === Verdict.AFFIRMING && each.appraisedAtMs > sinceMs && isMeant(each));
}

function isOn({ chainId, layerIndex }: PurgeRow, { configDigest }: Of, chainsOf: Chains): boolean {
  return chainsOf(configDigest)[layerIndex] === chainId;
}

/**
 * Of each layer the last purge that failed, of which neither a newer one that was carried out, nor a measurement, has ended it. One that is asked for, or came to nothing, ends no other; nor does one
 * of which it was told before: a report may come days late, and be of what was done after that.
 */
export function uncontained(rows: Iterable<ActionRow>): ActionRow[] {
  const carriedOut = [...rows].filter((row) => row.purge?.purgedAtMs !== undefined || hasFailed(row));
  const ended = (row: ActionRow): boolean =>
    row.purge?.wellAtMs !== undefined ||
    carriedOut.some((other) => layerOf(other) === layerOf(row) && other.number > row.number && carriedOutAtMs(other) >= carriedOutAtMs(row));
  const left = carriedOut.filter((row) => hasFailed(row) && !ended(row)).sort((a, b) => a.number - b.number);
  return [...new Map(left.map((row) => [layerOf(row), row])).values()];
}

function layerOf({ nodeId, purge }: ActionRow): string {
  return `${nodeId}/${purge?.chainId}`;
}

/** As far as is known here: when it was told. */
function carriedOutAtMs({ purge, settledAtMs = 0 }: ActionRow): number {
  return purge?.purgedAtMs ?? settledAtMs;
}

function hasFailed({ purge, state, reason }: ActionRow): boolean {
  return purge !== undefined && state === ActionState.FAILED && reason === CONTAINMENT_FAILED;
}

/** Of one that failed: the layer has been measured equal since, which stays so when that container is gone. */
export function wellAgain(row: ActionRow, nowMs: number): ActionRow {
  return row.purge ? { ...row, purge: { ...row.purge, wellAtMs: nowMs } } : row;
}
