/** What makes pods and keeps revisions: Deployments, StatefulSets, DaemonSets. Methods reject with EngineError, as those of the cluster do. */

/** What an intent says of where to go back to. An attacker who holds the verifier chooses it. */
export interface RolloutTarget {
  /** Controller of the pod that has drifted, as the pod has it. */
  readonly owner: PodOwner;
  /** None: it is to be scaled to none. */
  readonly revisions: readonly VerifiedRevision[];
}

export interface PodOwner {
  /** `ReplicaSet`, `StatefulSet` or `DaemonSet`. */
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
}

/** A revision that may be gone back to. */
export interface VerifiedRevision {
  /** Of its ReplicaSet or ControllerRevision. */
  readonly name: string;
  /** Which image each of its containers is to be of: `sha256:<hex>` of manifest or index. */
  readonly images: readonly { readonly container: string; readonly digest: string }[];
}

interface TemplateContainer {
  readonly name: string;
  readonly image: string;
  readonly [more: string]: unknown;
}

/** Of pods, as the API server has it but for what it sets itself (`pod-template-hash`, times). Whoever may write workloads wrote it. */
export interface PodTemplate {
  readonly spec: {
    readonly containers: readonly TemplateContainer[];
    readonly initContainers?: readonly TemplateContainer[] | undefined;
    readonly [more: string]: unknown;
  };
  readonly [more: string]: unknown;
}

export const WORKLOAD_KINDS = ["Deployment", "StatefulSet", "DaemonSet"] as const;
export type WorkloadKind = (typeof WORKLOAD_KINDS)[number];

export interface Workload {
  readonly kind: WorkloadKind;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Who wrote fields of it, by their own names. */
  readonly managers: readonly string[];
  /** `KIND/NAME` of what made the workload itself, and would put it back; undefined: nothing did. */
  readonly controller: string | undefined;
  /** Pods that are wanted. */
  readonly replicas: number;
  /** Pods that are there. */
  readonly present: number;
  readonly paused: boolean;
  /** Another template is not rolled out to all pods by itself: strategy OnDelete, or a partition. */
  readonly byHand: boolean;
  readonly template: PodTemplate;
  /** Of the template that is wanted now. `stuck`: the words of its controller, which has given it up. */
  readonly progress: { readonly state: "done" | "under-way" } | { readonly state: "stuck"; readonly why: string };
}

/** What applies a workload from a repository. */
export interface GitOpsOwner {
  readonly tool: "argocd" | "flux";
  readonly kind: "Application" | "Kustomization" | "HelmRelease";
  readonly namespace: string;
  readonly name: string;
}

export interface Revision {
  readonly name: string;
  /** Counts up with each rollout. */
  readonly number: number;
  /** Uid of the workload that it is of. */
  readonly ownerUid: string | undefined;
  readonly template: PodTemplate;
}

/** The annotation of a workload that {@link Rollouts.apply} sets. */
export const ROLLBACK_ANNOTATION = "hullmark.dev/rolled-back";

/** The annotation of a workload that {@link Rollouts.halt} sets: intent, and how many pods were wanted before. */
export const HALT_ANNOTATION = "hullmark.dev/halted";

export interface Rollouts {
  /** What stands over a pod by its controller: each is looked up by name and must have the uid. undefined: there is none. */
  find(namespace: string, owner: PodOwner): Promise<Workload | undefined>;
  /** undefined: there is none of that name. */
  revision(namespace: string, kind: WorkloadKind, name: string): Promise<Revision | undefined>;
  /** Puts the template in, and nothing else but the annotation, on the condition that uid and resourceVersion are still those. @throws EngineError ENGINE_UNREACHABLE also where they are not */
  apply(workload: Workload, template: PodTemplate, annotation: string): Promise<void>;
  /** Scales it to none, under the same condition. */
  halt(workload: Workload, annotation: string): Promise<void>;
  /** From where it applies the workload, in words, for people; undefined: it does not tell, may not be looked at, or does not say that it applies this one. */
  source(owner: GitOpsOwner, workload: Pick<Workload, "kind" | "namespace" | "name">): Promise<string | undefined>;
  /**
   * It applies nothing by itself any more, until people say so. Idempotent. Who it is the workload says, which anybody who deploys there writes: where it does not say itself
   * that it applies this workload it is left. @throws EngineError ENGINE_REFUSED then
   */
  pause(owner: GitOpsOwner, workload: Pick<Workload, "kind" | "namespace" | "name">): Promise<void>;
}
