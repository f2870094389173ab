/** Which image a service goes back to: the one that ran last, is verified now, and is not the present one; of pods, which revisions. Pure. */
import { ActionKind, ActionState } from "@hullmark/proto/v1/response";
import type { ActionRow, DriftRow, EarlierImage, RolloutTarget, WorkloadRow } from "../../ports/rows.ts";
import type { KnownRisk } from "../risk/known-risk.ts";

/**
 * What policy says now of an image that ran before. `looking-up` passes by itself, and is no word for or against it; neither is `unknown`, where its registry has not
 * answered for so long that it is not waited for: it is not gone back to, and nothing is halted for it.
 */
export type Standing = "verified" | "looking-up" | "unknown" | "not-verified";

export interface Rollback {
  /** The service is labelled `hullmark.dev/rollback: never`. */
  readonly never: boolean;
  /** Of the image that runs; undefined: not known. */
  readonly risk?: KnownRisk | undefined;
  /** The newest first. */
  readonly earlier: readonly { readonly image: EarlierImage; readonly standing: Standing; readonly risk?: KnownRisk | undefined }[];
  /** Of a pod whose workload keeps revisions: what made it, by which of them, and all that are known, the last affirmed first. */
  readonly rollout?: {
    readonly owner: RolloutTarget["owner"];
    readonly revision: string;
    readonly container: string;
    /** The risk is that of the image of `container`. */
    readonly revisions: readonly (RolloutTarget["revisions"][number] & { readonly standing: Standing; readonly risk?: KnownRisk | undefined })[];
  };
}

export const NO_ROLLBACK: Rollback = { never: false, earlier: [] };

/** Where the deployer says so it is never rolled back, whatever policy says. */
export const ROLLBACK_LABEL = "hullmark.dev/rollback";

const FRUITLESS: ReadonlySet<ActionState> = new Set([ActionState.FAILED, ActionState.REFUSED]);
/** Why going back to an image came to nothing that is of the image itself; others pass, or hold for whatever would be done to the container. */
const LASTING: ReadonlySet<string> = new Set(["engine", "no-target-image"]);
const FORBIDDEN = "rollback-never";
/** Why a cluster's actuator will not roll the pod's workload back, to whatever revision. Codes of docs/response.md. */
const FORBIDDEN_ROLLOUT: ReadonlySet<string> = new Set([
  ...[FORBIDDEN, "protected", "static-pod", "paused-rollout", "no-replicas", "on-delete", "owned-by-controller", "owned-by-argocd", "owned-by-flux"],
  ...["other-owner", "no-earlier-revision", "other-rollout", "not-of-template", "no-right", "not-progressing", "engine"],
]);

/** What something takes back at once, an autoscaler, an operator or a pipeline: as if it had been done, and not for ever. */
export function isUndone({ kind, state, reason }: Pick<ActionRow, "kind" | "state" | "reason">): boolean {
  return (kind === ActionKind.ROLLBACK || kind === ActionKind.HALT) && state === ActionState.FAILED && reason === "other-rollout";
}

/** It says that going back to this image, or to any, comes to nothing: the one before it, or the next rung, is still to be tried on the container. */
export function endsRollback({ kind, state, reason, rollout }: Pick<ActionRow, "kind" | "state" | "reason" | "rollout">): boolean {
  if (kind !== ActionKind.ROLLBACK || !FRUITLESS.has(state) || isUndone({ kind, state, reason })) return false;
  return rollout ? FORBIDDEN_ROLLOUT.has(reason) : LASTING.has(reason) || reason === FORBIDDEN;
}

/** All that is verified has a higher risk than what runs: it is not gone back to, and that is on record before anything else is done. */
export interface RiskRefusal {
  /** Which image, with both figures. */
  readonly refused: string;
  /** What it would have gone back to: the newest on a host, or of pods all of them. */
  readonly of: EarlierImage | RolloutTarget;
}

/** Why an action on record was refused by the verifier itself. A code of docs/response.md. */
export const HIGHER_RISK = "higher-risk";

export function isRiskRefusal({ kind, state, reason }: Pick<ActionRow, "kind" | "state" | "reason">): boolean {
  return kind === ActionKind.ROLLBACK && state === ActionState.REFUSED && reason === HIGHER_RISK;
}

/** Whether it is on record for this container. */
export function isRefusedForRisk({ nodeId, containerId }: Pick<WorkloadRow, "nodeId" | "containerId">, history: readonly ActionRow[]): boolean {
  return history.some((each) => each.nodeId === nodeId && each.containerId === containerId && isRiskRefusal(each));
}

/**
 * Whether what scans found in the image that runs says what runs there: it is signed by whom policy asks, lacks an attestation alone, and nothing else differs. A scan counts the flaws of
 * known packages: of what an attacker built, or has changed in the container, it finds none.
 * @param drifts open ones of the container
 */
export function isAsScanned(drifts: readonly Pick<DriftRow, "place" | "kind">[]): boolean {
  return drifts.every(({ place, kind }) => place === "image" && kind === "attestation-missing");
}

/** Only what is known of both is held against each other. @returns undefined: it is not higher, or nobody knows */
function higherRisk(reference: string, risk: KnownRisk | undefined, present: KnownRisk | undefined): string | undefined {
  if (!risk || !present || risk.figure <= present.figure) return undefined;
  return `${reference} has vulnerabilities of ${risk.figure} (${risk.because}), what runs has ${present.figure} (${present.because})`;
}

/**
 * @param anyRisk what is of a higher risk than what runs is gone back to as well: policy says so, or that one's says nothing ({@link isAsScanned})
 * @returns what to go back to; "looking-up": whether there is one, or a newer one is verified, is not known yet
 */
export function rollbackOf(
  rollback: Rollback | undefined,
  { nodeId, containerId, configDigest, imageId }: Pick<WorkloadRow, "nodeId" | "containerId" | "configDigest" | "imageId">,
  history: readonly ActionRow[],
  anyRisk: boolean,
): EarlierImage | RiskRefusal | "looking-up" | "none" {
  const ended = history.filter((each) => each.nodeId === nodeId && each.containerId === containerId && endsRollback(each));
  if (rollback?.never || ended.some(({ reason }) => reason === FORBIDDEN)) return "none";
  const fruitless = new Set(ended.map(({ target }) => target?.configDigest));
  if (!rollback) return "looking-up";
  let refusal: RiskRefusal | undefined;
  for (const { image, standing, risk } of rollback.earlier) {
    if (image.configDigest === configDigest || image.imageId === imageId || fruitless.has(image.configDigest)) continue;
    if (standing === "looking-up") return "looking-up";
    if (standing !== "verified") continue;
    const refused = anyRisk ? undefined : higherRisk(image.reference, risk, rollback.risk);
    if (refused === undefined) return image;
    refusal ??= { refused, of: image };
  }
  return refusal && !isRefusedForRisk({ nodeId, containerId }, history) ? refusal : "none";
}

/** All that is verified is the present image, by another name: it stands in another repository too, which policy trusts. */
export function isVerifiedByAnotherName({ earlier, rollout }: Rollback, present: Pick<WorkloadRow, "configDigest" | "imageId">): boolean {
  const ofHost = earlier.map(({ standing, image }) => ({ standing, same: image.configDigest === present.configDigest || image.imageId === present.imageId }));
  const ofPods = (rollout?.revisions ?? []).flatMap(({ standing, images }) =>
    images.flatMap(({ container, configDigest }) => (container === rollout?.container ? [{ standing, same: configDigest === present.configDigest }] : [])),
  );
  const verified = [...ofHost, ...ofPods].filter(({ standing }) => standing === "verified");
  return verified.length > 0 && verified.every(({ same }) => same);
}

/** Why a cluster's actuator will not scale the pod's workload to none, today or tomorrow. */
const FORBIDDEN_HALT: ReadonlySet<string> = new Set([
  ...["halt-never", "halt-not-allowed", "protected", "static-pod", "no-replicas", "not-scalable", "owned-by-controller", "owned-by-argocd", "owned-by-flux"],
  ...["other-owner", "other-rollout", "not-of-template", "no-right", "engine"],
]);

/** A rollback that came to nothing for one of these says nothing of whether there is something to go back to. */
const NO_ANSWER: ReadonlySet<string> = new Set(["engine", "no-right", "other-rollout", "not-progressing"]);

/** What made the container's pod, where it can be scaled to none. `mayGoBack`: a registry has not answered for what ran before. */
export function haltable(
  rollback: Rollback | undefined,
  { nodeId, containerId, configDigest }: Pick<WorkloadRow, "nodeId" | "containerId" | "configDigest">,
  history: readonly ActionRow[],
): { readonly owner: RolloutTarget["owner"]; readonly mayGoBack: boolean } | undefined {
  const { owner, revision, container, revisions = [] } = rollback?.rollout ?? {};
  // A DaemonSet has a pod for each node, and no number of them.
  if (!owner || owner.kind === "DaemonSet") return undefined;
  const fruitless = history.filter((each) => each.nodeId === nodeId && each.containerId === containerId && FRUITLESS.has(each.state));
  if (fruitless.some(({ kind, reason }) => kind === ActionKind.HALT && FORBIDDEN_HALT.has(reason))) return undefined;
  if (fruitless.some(({ kind, reason }) => kind === ActionKind.ROLLBACK && NO_ANSWER.has(reason))) return undefined;
  const others = revisions.filter(({ images }) => images.some((each) => each.container === container && each.configDigest !== configDigest));
  // The very revision is verified, of another image than this one node tells of.
  if (others.some(({ name, standing }) => name === revision && standing === "verified")) return undefined;
  return { owner, mayGoBack: others.some(({ standing }) => standing === "unknown") };
}

/** What an actuator takes. */
const MAX_REVISION_IMAGES = 16;

/** As {@link rollbackOf}, of a container in a pod. @returns every revision that may be gone back to */
export function rolloutOf(
  { never, rollout, risk: present }: Rollback,
  { nodeId, containerId, configDigest }: Pick<WorkloadRow, "nodeId" | "containerId" | "configDigest">,
  history: readonly ActionRow[],
  anyRisk: boolean,
): RolloutTarget | RiskRefusal | "looking-up" | "none" {
  const ended = history.some((each) => each.nodeId === nodeId && each.containerId === containerId && endsRollback(each));
  if (never || ended || !rollout) return "none";
  const { owner, container } = rollout;
  // The present one among them, where it was verified by another image: its tag was moved, or one node lies.
  const others = rollout.revisions.filter(
    ({ images }) => images.length <= MAX_REVISION_IMAGES && images.some((each) => each.container === container && each.configDigest !== configDigest),
  );
  // It may be the newest of them.
  if (others.some(({ standing }) => standing === "looking-up")) return "looking-up";
  const verified = others.flatMap(({ standing, risk, ...each }) => {
    const { reference = each.name } = each.images.find((image) => image.container === container) ?? {};
    return standing === "verified" ? [{ revision: each, refused: anyRisk ? undefined : higherRisk(reference, risk, present) }] : [];
  });
  const revisions = verified.flatMap(({ revision, refused }) => (refused === undefined ? [revision] : []));
  if (revisions.length > 0) return { owner, revisions };
  const [first] = verified;
  if (first?.refused === undefined || isRefusedForRisk({ nodeId, containerId }, history)) return "none";
  return { refused: first.refused, of: { owner, revisions: verified.map(({ revision }) => revision) } };
}
