/** The cluster's API server, as far as an eviction needs it. Methods reject with EngineError: ENGINE_UNREACHABLE may pass, ENGINE_REFUSED is the API server's answer. */

/** What an intent says of the pod that is to go. An attacker who holds the verifier chooses it. */
export interface PodTarget {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** In the pod's specification. */
  readonly container: string;
  /** The node whose agent told of the drift. */
  readonly nodeName: string;
  /** `sha256:<hex>`: what the kubelet may call the container's image. */
  readonly imageDigests: readonly string[];
  readonly driftId: string;
  /** Entry of the drift in the transparency log. */
  readonly driftLogIndex: number;
}

/** A pod as the API server has it. Names and labels are those of whoever made it. */
export interface ClusterPod {
  readonly uid: string;
  readonly nodeName: string;
  readonly labels: Readonly<Record<string, string>>;
  /** By its phase, which says so only once its init containers have ended. */
  readonly running: boolean;
  /** It is on its node's own network, to which no policy applies. */
  readonly hostNetwork: boolean;
  /** Of a file on its node: evicting the API server's copy changes nothing. */
  readonly isStatic: boolean;
  /** What makes another when it goes: `Deployment/web`; undefined: nothing does. */
  readonly owner: string | undefined;
  /** Uid of its own controller, which of a Deployment's pods is a ReplicaSet; undefined: there is none. */
  readonly controllerUid: string | undefined;
  /** When its time to end is over, Unix milliseconds by the API server's clock; undefined: it is not being deleted. */
  readonly endsMs: number | undefined;
  /** `image` is what the pod's specification asks for; empty where it names no such container. */
  readonly containers: readonly {
    readonly name: string;
    readonly id: string;
    readonly imageDigest: string;
    readonly image: string;
    readonly running: boolean;
  }[];
}

/** `budget`: a disruption budget forbids it now. `gone`: there is no pod of that uid. */
export type Eviction = { readonly outcome: "accepted" | "gone" } | { readonly outcome: "budget"; readonly why: string; readonly retryAfterMs: number };

export interface PodEvent {
  readonly intentId: string;
  readonly actionId: string;
  /** Entry of the verifier's log about the action; undefined: it did not say. */
  readonly logIndex?: number | undefined;
  readonly pod: PodTarget;
  /** UpperCamelCase: one Event an intent and reason. */
  readonly reason:
    | "Evicting"
    | "EvictionWaits"
    | "Evicted"
    | "EvictionFailed"
    | "RollingBack"
    | "RolledBack"
    | "RollbackFailed"
    | "RollbackRefused"
    | "Halting"
    | "Halted"
    | "HaltFailed"
    | "HaltRefused"
    | "Isolated"
    | "IsolationFailed"
    | "Released"
    | "ReleaseFailed";
  readonly note: string;
  readonly warning: boolean;
  readonly atMs: number;
}

export interface Cluster {
  /** undefined: there is none of that name. */
  find(pod: Pick<PodTarget, "namespace" | "name">): Promise<ClusterPod | undefined>;
  /** Pods whose phase is Running, in the whole cluster: whoever may make pods has none more run for that. */
  countRunning(): Promise<number>;
  /** Eviction API (policy/v1), on the condition that the pod still has this uid: of one that took its name nothing is asked. */
  evict(pod: Pick<PodTarget, "namespace" | "name" | "uid">): Promise<Eviction>;
  /** An Event on the pod. Idempotent. */
  tell(event: PodEvent): Promise<void>;
}
