/** Whether the pod that an intent names may be evicted: the cluster's own limits, which no verifier can raise. Pure. */
import { compileNames } from "@hullmark/proto/codec";
import type { ClusterPod, PodTarget } from "../ports/cluster.ts";
import type { LedgerEntry } from "../ports/ledger.ts";
import type { CheckedIntent } from "./check-intent.ts";
import type { LocalLimits } from "./hands.ts";
import { overLocalLimit } from "./local-limits.ts";

/** Codes of docs/response.md. */
export type PodRefusal =
  | "protected"
  | "gone"
  | "other-pod"
  | "on-other-node"
  | "static-pod"
  | "terminating"
  | "other-container"
  | "other-image"
  | "not-running"
  | "evict-never"
  | "bare-pod"
  | "cooling-down"
  | "breaker";

export interface PodFacts {
  /** All that the cluster has. */
  readonly pods: number;
  readonly ledger: readonly LedgerEntry[];
  readonly nowMs: number;
}

/** What an intent says, or the ledger still knows of it. */
type Asked = Pick<CheckedIntent, "pod" | "containerId" | "owners">;

/** What the cluster stands on is nobody's to evict, whatever a configuration says. */
const SYSTEM_NAMESPACES: readonly string[] = ["kube-system", "kube-public", "kube-node-lease"];
/** Whoever deploys it may forbid that it is evicted; no verifier overrules that. */
const EVICT_LABEL = "hullmark.dev/evict";

/** One service: whatever would make another of the pod, or the pod by its name. */
export function podService({ namespace, name }: Pick<PodTarget, "namespace" | "name">, pod: Pick<ClusterPod, "owner">): string {
  return `${namespace}/${pod.owner?.slice(pod.owner.indexOf("/") + 1) ?? name}`;
}

/** @param pod of the name that the intent says @param ownNamespace of this actuator @returns why not; undefined: it may be evicted */
export function refusePod(
  asked: Asked,
  pod: ClusterPod | undefined,
  { pods, ledger, nowMs }: PodFacts,
  limits: LocalLimits,
  ownNamespace: string,
): PodRefusal | undefined {
  const refusal = unfit(asked, pod, limits, ownNamespace);
  if (refusal || !asked.pod || !pod) return refusal;
  return overLocalLimit(podService(asked.pod, pod), ledger, pods, nowMs, limits);
}

/** As {@link refusePod}, whatever was done before: for one that has its place within the limits. */
export function unfit(asked: Asked, pod: ClusterPod | undefined, limits: Pick<LocalLimits, "protect">, ownNamespace: string): PodRefusal | undefined {
  const other = otherPod(asked, pod, limits, ownNamespace);
  if (other || !pod) return other;
  if (pod.labels[EVICT_LABEL] === "never") return "evict-never";
  // Nobody would make another: it would be gone for good.
  if (pod.owner === undefined && !asked.owners.includes("bare-pod")) return "bare-pod";
  return undefined;
}

/** Whether it is not the pod that is meant, or one that nothing is done about. @param mayEnd it may be deleted already: what takes its time for that is cut off meanwhile */
export function otherPod(
  { pod: target, containerId }: Pick<Asked, "pod" | "containerId">,
  pod: ClusterPod | undefined,
  { protect }: Pick<LocalLimits, "protect">,
  ownNamespace: string,
  mayEnd = false,
): PodRefusal | undefined {
  // Before anything else: whether there is such a pod is not told of these either.
  if (!target || target.namespace === ownNamespace || SYSTEM_NAMESPACES.includes(target.namespace)) return "protected";
  if (!pod) return "gone";
  // Its node calls it by the hash of its file, the API server's copy has a uid of its own.
  if (pod.isStatic) return "static-pod";
  if (pod.uid !== target.uid) return "other-pod";
  if (protect.length > 0 && compileNames(protect)(podService(target, pod))) return "protected";
  // A node's word is taken of its own pods alone.
  if (pod.nodeName !== target.nodeName) return "on-other-node";
  if (pod.endsMs !== undefined && !mayEnd) return "terminating";
  const container = pod.containers.find(({ name }) => name === target.container);
  if (container?.id !== containerId) return "other-container";
  if (!target.imageDigests.includes(container.imageDigest)) return "other-image";
  // An init container can drift, or be of any image, as others can.
  if (!pod.running && !container.running) return "not-running";
  return undefined;
}
