/** The container engine of the node, as the agent needs it. Its answers are the engine's word: what can be measured is measured instead. */

/** RUNTIME_UNREACHABLE: the engine does not answer; every claim that rests on it is old. RUNTIME_PROTOCOL: it answers what cannot be understood. */
export type ContainerRuntimeErrorCode = "RUNTIME_UNREACHABLE" | "RUNTIME_PROTOCOL";

export class ContainerRuntimeError extends Error {
  readonly code: ContainerRuntimeErrorCode;

  constructor(code: ContainerRuntimeErrorCode, message: string, options?: ErrorOptions) {
    super(`${code}: ${message}`, options);
    this.name = "ContainerRuntimeError";
    this.code = code;
  }
}

export interface RuntimeFacts {
  /** `docker`, or what the runtime calls itself over CRI (`containerd`, `cri-o`). */
  readonly name: string;
  readonly version: string;
  readonly storageDriver: string;
  /** Extractor that wrote the layer directories. */
  readonly dialect: "docker" | "containerd";
  /** Whether the runtime lays a layer of its own over those of the image: then the topmost lower directory is that one (Docker's `-init`), whatever its name. */
  readonly ownLayer: boolean;
}

/** Kubernetes' names for a container, from the labels that the kubelet gives it: the kubelet's word, not the API server's. */
export interface PodFacts {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Name in the pod's specification; empty for the sandbox that holds the pod's namespaces. */
  readonly container: string;
  /** `Deployment`, `ReplicaSet`, `StatefulSet`, `DaemonSet`, `CronJob`, `Job`, `Node` (static pod) or `Pod`, as the pod's labels and name tell. */
  readonly ownerKind: string;
  readonly ownerName: string;
}

export interface DeclaredMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
  /** The path of the node that the runtime was asked to mount, before it followed links; undefined: it tells none. */
  readonly asked?: string | undefined;
}

/** Engine-made file that is mounted over a path of the image. */
export interface EngineFile {
  readonly destination: string;
  /** Where the engine keeps it on the node. */
  readonly hostPath: string;
  /** Where the engine keeps its own digest of it (hex in text), where it does. */
  readonly digestPath: string | undefined;
}

export interface ContainerFacts {
  readonly id: string;
  readonly name: string;
  /** Main process in the node's pid namespace, > 0. */
  readonly pid: number;
  readonly startedAtMs: number;
  /** `root.path` of the configuration that was run: absolute on the node, or below the bundle; undefined: not known. */
  readonly rootPath: string | undefined;
  readonly workload: string;
  readonly imageReference: string;
  /** Where the runtime does not say by which of its names the image was asked for: the rest of them. */
  readonly otherImageNames?: readonly string[];
  readonly imageId: string;
  readonly repoDigests: readonly string[];
  /** Config blob in the content store; undefined where the engine keeps none that can be read. */
  readonly configBlobPath: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** Found by the kernel's word alone: the runtime does not tell of it, so that nothing here is declared. */
  readonly unlisted: boolean;
  /** undefined: no container of a pod. */
  readonly pod: PodFacts | undefined;
  readonly args: readonly string[];
  /** `NAME=value`. Values never leave the agent but as keyed digests. */
  readonly env: readonly string[];
  readonly user: string;
  /** Groups that the runtime was asked to add, beyond those that the image gives its user; none where it does not tell. */
  readonly supplementaryGroups?: readonly number[];
  readonly workingDirectory: string;
  /** Bounding set, without `CAP_`. */
  readonly capabilities: readonly string[];
  readonly privileged: boolean;
  readonly readOnlyRoot: boolean;
  readonly noNewPrivileges: boolean;
  /** `no-new-privileges` where the engine was asked for it and the runtime's configuration lacks it; `system-paths` where the kernel's paths are not hidden as by default. */
  readonly unmet?: readonly string[];
  readonly seccomp: "default" | "unconfined" | "custom";
  readonly apparmor: string;
  readonly hostNamespaces: readonly string[];
  readonly devices: readonly string[];
  readonly mounts: readonly DeclaredMount[];
  /** Mount points that the runtime makes to mask or freeze kernel paths. */
  readonly maskedPaths: readonly string[];
  readonly hostname: string;
  readonly extraHosts: readonly string[];
  readonly addresses: readonly string[];
  readonly networkNames: readonly string[];
  readonly engineFiles: readonly EngineFile[];
  /** It joined the network of a container that the engine does not know any more: {@link engineFiles} were that one's, and nobody can say what they should be. */
  readonly networkOwnerGone?: boolean;
}

export interface RuntimeEvent {
  /** `changed`: inspect again (started, stopped, died, renamed, network joined). `connected`: the event stream stands; list again, since events may have been missed. */
  readonly kind: "changed" | "connected";
  /** Empty for `connected`. */
  readonly containerId: string;
}

export interface StoppedContainer {
  readonly id: string;
  /** As {@link ContainerFacts.name}. */
  readonly name: string;
  /** As {@link ContainerFacts.imageId}; empty: it is not told. */
  readonly imageId: string;
}

export interface ContainerRuntime {
  /** @throws ContainerRuntimeError */
  facts(signal: AbortSignal): Promise<RuntimeFacts>;
  /** Ids of running (or paused) containers, and of those that run although the runtime does not know them, where that is looked for. @throws ContainerRuntimeError */
  list(signal: AbortSignal): Promise<readonly string[]>;
  /** What it keeps that does not run: made and not started, ended, dead. @throws ContainerRuntimeError */
  stopped(signal: AbortSignal): Promise<readonly StoppedContainer[]>;
  /** undefined: not running (any more). @throws ContainerRuntimeError */
  inspect(id: string, signal: AbortSignal): Promise<ContainerFacts | undefined>;
  /** One subscription; starts with `connected`. Ends by throwing ContainerRuntimeError when the engine goes, or quietly with the signal. */
  events(signal: AbortSignal): AsyncIterable<RuntimeEvent>;
}
