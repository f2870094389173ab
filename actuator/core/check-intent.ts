/** Whether a signed intent is one that this actuator may carry out. Pure; every byte may be an attacker's who holds the verifier. */
import { fromBinary } from "@bufbuild/protobuf";
import { INTENT_ID_BYTES, intentMessage, MAX_INTENT_BYTES, MAX_INTENT_LIFETIME_MS } from "@hullmark/proto/codec";
import { ActionKind, type Intent, IntentSchema } from "@hullmark/proto/v1/response";
import type { PodTarget } from "../ports/cluster.ts";
import type { TargetImage } from "../ports/engine.ts";
import type { PurgeTarget } from "../ports/layers.ts";
import type { MarkedNode } from "../ports/node-hook.ts";
import type { RolloutTarget } from "../ports/rollouts.ts";
import { isAboutNode, isNodeWhole, markedNode } from "./node-intent.ts";
import { isPurgeWhole, purgeOf } from "./purge-intent.ts";

/** Whose actuator this is: a node's or a cluster's. What is meant for another is not carried out. */
export type ActuatorIdentity = { readonly region: string } & ({ readonly nodeId: string } | { readonly cluster: string });

/** An intent whose signature and bounds hold. Made by {@link checkIntent} only. */
export interface CheckedIntent {
  /** 32 hex digits. */
  readonly id: string;
  readonly actionId: string;
  readonly kind: ActionKind;
  readonly containerId: string;
  /** What the engine must call the container's image. */
  readonly imageId: string;
  /** Of a rollback alone: the image to go back to, which is not the present one. */
  readonly target: TargetImage | undefined;
  /** Of an action on a node alone, which names no container and no image. */
  readonly node: MarkedNode | undefined;
  /** Of an eviction, and of a rollback in a cluster, alone. */
  readonly pod: PodTarget | undefined;
  /** Entry of the verifier's log about the action, for people; undefined: it did not say. */
  readonly logIndex?: number | undefined;
  /** Of a rollback in a cluster, and of a halt, which names no revision, alone. */
  readonly rollout: RolloutTarget | undefined;
  /** Of a purge alone, which names no container. */
  readonly purge?: PurgeTarget | undefined;
  readonly owners: readonly string[];
  readonly expiresAtMs: number;
}

/** Codes of docs/response.md. `signature` and `malformed` name no intent that could be answered. */
export type IntentRefusal = "signature" | "malformed" | "other-node" | "other-cluster" | "other-region" | "expired" | "lifetime" | "unknown-kind";

export type IntentCheck =
  | { readonly ok: true; readonly intent: CheckedIntent }
  | { readonly ok: false; readonly reason: IntentRefusal; readonly id: string | undefined };

const NODE_KINDS: ReadonlySet<ActionKind> = new Set([
  ...[ActionKind.STOP, ActionKind.RECREATE, ActionKind.ROLLBACK, ActionKind.ISOLATE, ActionKind.RELEASE],
  ...[ActionKind.MARK_NODE, ActionKind.LIFT_NODE, ActionKind.PURGE],
]);
const CLUSTER_KINDS: ReadonlySet<ActionKind> = new Set([
  ...[ActionKind.EVICT, ActionKind.ROLLBACK, ActionKind.HALT, ActionKind.ISOLATE, ActionKind.RELEASE],
  ...[ActionKind.MARK_NODE, ActionKind.LIFT_NODE],
]);
/** As Kubernetes has them: of a namespace or container, of a pod or node. */
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const UID = /^[0-9a-zA-Z-]{1,64}$/;
const MAX_IMAGE_DIGESTS = 8;
const MAX_REVISIONS = 8;
const MAX_REVISION_IMAGES = 16;
const OWNER_KINDS: ReadonlySet<string> = new Set(["ReplicaSet", "StatefulSet", "DaemonSet"]);
/** A repository and a digest: never a tag. */
const REFERENCE = /^[a-zA-Z0-9.:[\]_/-]{1,512}@sha256:[0-9a-f]{64}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
/** A verifier's clock may be ahead by this. */
const SKEW_MS = 60_000;

/** The key in use signs, and one that gave way to it. */
const MAX_SIGNATURES = 2;

export interface SignedIntent {
  readonly body: Uint8Array;
  readonly signatures: readonly Uint8Array[];
  /** Entry of the verifier's log about the action; not signed. */
  readonly logIndex?: bigint | undefined;
}

/**
 * @param verify Ed25519 of a configured key over exactly these bytes
 * @param nowMs not before any time that was acted at earlier
 */
export function checkIntent(
  { body, signatures, logIndex }: SignedIntent,
  verify: (message: Uint8Array, signature: Uint8Array) => boolean,
  identity: ActuatorIdentity,
  nowMs: number,
): IntentCheck {
  const refuse = (reason: IntentRefusal, id?: string): IntentCheck => ({ ok: false, reason, id });
  if (body.length === 0 || body.length > MAX_INTENT_BYTES || !signatures.every(({ length }) => length === 64)) return refuse("malformed");
  if (signatures.length > MAX_SIGNATURES) return refuse("malformed");
  if (!signatures.some((signature) => verify(intentMessage(body), signature))) return refuse("signature");
  const intent = parse(body);
  if (!intent) return refuse("malformed");
  const id = Buffer.from(intent.id).toString("hex");
  const ofCluster = "cluster" in identity;
  if (ofCluster && (intent.cluster !== identity.cluster || intent.nodeId !== "")) return refuse("other-cluster", id);
  if (!ofCluster && (intent.nodeId !== identity.nodeId || intent.cluster !== "")) return refuse("other-node", id);
  if (intent.region !== identity.region) return refuse("other-region", id);
  const [issuedAtMs, expiresAtMs] = [millis(intent.issuedAt), millis(intent.expiresAt)];
  if (issuedAtMs > nowMs + SKEW_MS || expiresAtMs - issuedAtMs > MAX_INTENT_LIFETIME_MS || expiresAtMs <= issuedAtMs) return refuse("lifetime", id);
  if (expiresAtMs <= nowMs) return refuse("expired", id);
  if (!(ofCluster ? CLUSTER_KINDS : NODE_KINDS).has(intent.kind)) return refuse("unknown-kind", id);
  const { actionId, kind, containerId, owners } = intent;
  return {
    ok: true,
    intent: {
      ...{ id, actionId, kind, containerId, imageId: intent.imageId || intent.configDigest },
      ...(logIndex !== undefined && logIndex <= Number.MAX_SAFE_INTEGER && { logIndex: Number(logIndex) }),
      ...{ target: targetOf(intent), node: markedNode(intent), owners, expiresAtMs },
      ...{ pod: podOf(intent), rollout: rolloutOf(intent), purge: purgeOf(intent) },
    },
  };
}

/** undefined: not in the one form that an intent has. */
function parse(body: Uint8Array): Intent | undefined {
  let intent: Intent;
  try {
    intent = fromBinary(IntentSchema, body);
  } catch {
    return undefined;
  }
  if ((intent.$unknown?.length ?? 0) > 0 || intent.id.length !== INTENT_ID_BYTES || !intent.issuedAt || !intent.expiresAt) return undefined;
  if (!isNodeWhole(intent) || !isPurgeWhole(intent)) return undefined;
  const ofContainer = !isAboutNode(intent) && intent.kind !== ActionKind.PURGE;
  if (ofContainer && (!/^[0-9a-f]{64}$/.test(intent.containerId) || !DIGEST.test(intent.configDigest))) return undefined;
  if (intent.imageId !== "" && !DIGEST.test(intent.imageId)) return undefined;
  if (!/^A-[0-9A-Z]{4,16}$/.test(intent.actionId) || intent.owners.length > 8) return undefined;
  return isTargetWhole(intent) && isPodWhole(intent) && isRolloutWhole(intent) ? intent : undefined;
}

/** An intent for a cluster names a pod in full, or a node; nothing else names a pod. */
function isPodWhole({ kind, cluster, podNamespace, podName, podUid, podContainer, podNode, podImageDigests }: Intent): boolean {
  const names = [podNamespace, podName, podUid, podContainer, podNode];
  if (cluster === "" || isAboutNode({ kind }))
    return podImageDigests.length === 0 && names.every((each) => each === "") && (cluster === "" || LABEL.test(cluster));
  if (podImageDigests.length === 0 || podImageDigests.length > MAX_IMAGE_DIGESTS || !podImageDigests.every((each) => DIGEST.test(each))) return false;
  return (
    [cluster, podNamespace, podContainer].every((each) => LABEL.test(each)) && [podName, podNode].every((each) => SUBDOMAIN.test(each)) && UID.test(podUid)
  );
}

/** A rollback in a cluster names what made the pod, and revisions to go back to; a halt the former; nothing else names any. */
function isRolloutWhole({ kind, cluster, podOwner, revisions }: Intent): boolean {
  if ((kind !== ActionKind.ROLLBACK && kind !== ActionKind.HALT) || cluster === "") return podOwner === undefined && revisions.length === 0;
  if (!podOwner || !OWNER_KINDS.has(podOwner.kind) || !SUBDOMAIN.test(podOwner.name) || !UID.test(podOwner.uid)) return false;
  if (kind === ActionKind.HALT) return revisions.length === 0;
  if (revisions.length > MAX_REVISIONS || !areDistinct(revisions.map(({ name }) => name))) return false;
  return revisions.every(
    ({ name, images }) =>
      SUBDOMAIN.test(name) &&
      images.length <= MAX_REVISION_IMAGES &&
      areDistinct(images.map(({ container }) => container)) &&
      images.every(({ container, digest }) => LABEL.test(container) && DIGEST.test(digest)),
  );
}

function areDistinct(names: readonly string[]): boolean {
  return names.length > 0 && new Set(names).size === names.length;
}

function rolloutOf({ podOwner, revisions }: Intent): RolloutTarget | undefined {
  if (!podOwner) return undefined;
  const { kind, name, uid } = podOwner;
  return {
    owner: { kind, name, uid },
    revisions: revisions.map((each) => ({ name: each.name, images: each.images.map(({ container, digest }) => ({ container, digest })) })),
  };
}

function podOf({
  kind,
  cluster,
  podNamespace,
  podName,
  podUid,
  podContainer,
  podNode,
  podImageDigests,
  driftId,
  driftLogIndex,
}: Intent): PodTarget | undefined {
  if (cluster === "" || isAboutNode({ kind })) return undefined;
  return {
    ...{ namespace: podNamespace, name: podName, uid: podUid, container: podContainer, nodeName: podNode, imageDigests: podImageDigests },
    ...{ driftId, driftLogIndex: Number(driftLogIndex) },
  };
}

/** A rollback on a host names another image than the present one; nothing else names any. */
function isTargetWhole({ kind, cluster, configDigest, imageId, targetConfigDigest, targetImageId, targetReference }: Intent): boolean {
  if (kind !== ActionKind.ROLLBACK || cluster !== "") return targetConfigDigest === "" && targetImageId === "" && targetReference === "";
  if (!DIGEST.test(targetConfigDigest) || !REFERENCE.test(targetReference) || (targetImageId !== "" && !DIGEST.test(targetImageId))) return false;
  return targetConfigDigest !== configDigest && (targetImageId || targetConfigDigest) !== (imageId || configDigest);
}

function targetOf({ targetConfigDigest, targetImageId, targetReference }: Intent): TargetImage | undefined {
  return targetConfigDigest === "" ? undefined : { imageId: targetImageId || targetConfigDigest, reference: targetReference };
}

function millis({ seconds, nanos }: { readonly seconds: bigint; readonly nanos: number } = { seconds: 0n, nanos: 0 }): number {
  return Number(seconds) * 1000 + nanos / 1e6;
}
