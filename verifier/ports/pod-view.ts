/** The API server's pods as far as appraisal needs them: whoever may write pods wrote this, never the node that runs them. */

/** How a container stands in its pod's specification. */
export type ContainerRole = "container" | "init" | "ephemeral";

/** A variable that the specification sets. */
export interface PodVariable {
  readonly name: string;
  /** As written, before the kubelet puts in references; undefined: it comes from elsewhere. */
  readonly value: string | undefined;
  /** It comes from the pod itself (downward API): which of {@link PodRecord.fields}. */
  readonly field: string | undefined;
  /** It comes from this key of a ConfigMap. */
  readonly configMap: { readonly name: string; readonly key: string } | undefined;
  /** The Secret that it comes from. Without any of the four it comes from a file. */
  readonly secret: string | undefined;
  /** Not set where it comes from a ConfigMap or Secret that lacks it. */
  readonly optional: boolean;
}

export interface PodMount {
  readonly path: string;
  readonly volume: string;
  /** The volume's source as the API names it: `emptyDir`, `configMap`, `hostPath`, …; empty: the specification has no such volume. */
  readonly source: string;
  readonly readOnly: boolean;
  /** Of a `hostPath`: the path of the node. */
  readonly hostPath: string | undefined;
  /** Its number among the container's mounts, from 0. */
  readonly index: number;
  /** Only a part of the volume (`subPath`). */
  readonly part: boolean;
}

/** A container as its pod's specification has it, the pod's own security context put in. Empty or undefined: the specification says nothing. */
export interface PodContainer {
  readonly name: string;
  readonly role: ContainerRole;
  /** As written: by tag or digest. */
  readonly image: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly env: readonly PodVariable[];
  /** Whole ConfigMaps and Secrets (`envFrom`), of which the specification has no names of variables. */
  readonly envFrom: readonly {
    readonly prefix: string /** undefined: of a Secret. */;
    readonly configMap: string | undefined;
    readonly secret: string | undefined;
    /** Containers start without it. */
    readonly optional: boolean;
  }[];
  readonly workingDirectory: string;
  readonly user: number | undefined;
  readonly group: number | undefined;
  readonly privileged: boolean;
  readonly readOnlyRoot: boolean;
  /** `allowPrivilegeEscalation: false`. */
  readonly noEscalation: boolean;
  /** Upper case, without `CAP_`. */
  readonly addedCapabilities: readonly string[];
  readonly droppedCapabilities: readonly string[];
  /** `RuntimeDefault`, `Localhost`, `Unconfined` or empty. */
  readonly seccomp: string;
  readonly mounts: readonly PodMount[];
  /** Where raw volumes (`volumeDevices`) are devices of the container. */
  readonly volumeDevices: readonly string[];
  /** Where the kubelet mounts the file for a last message. */
  readonly terminationMessagePath: string;
  /** It asks for devices of a plug-in on the node, which adds variables, mounts and devices as it sees fit. */
  readonly extended: boolean;
}

/** A container that runs, by the kubelet's word at the API server. */
export interface RunningContainer {
  readonly name: string;
  /** As the runtime calls it. */
  readonly id: string;
  /** By the node's clock, unix milliseconds. */
  readonly sinceMs: number;
}

/** What made a pod, and by which of its revisions. */
export interface PodOrigin {
  /** The pod's own controller. */
  readonly owner: { readonly kind: "ReplicaSet" | "StatefulSet" | "DaemonSet"; readonly name: string; readonly uid: string };
  /** Kind and name of the workload: of a ReplicaSet its Deployment, for example `Deployment/web`. */
  readonly workload: string;
  /** Name of the ReplicaSet or ControllerRevision. */
  readonly revision: string;
}

/** Where the template stands that a pod was made of. */
export interface PodTemplateSource {
  readonly kind: "ReplicaSet" | "ControllerRevision" | "Job";
  readonly name: string;
  /** Of the pod's own controller. */
  readonly ownerUid: string;
}

/** What is kept of one pod: bounded by the API server's own limit of an object, and far smaller. */
export interface PodRecord {
  /** As the kubelet knows it: of a static pod its own, not its mirror's. */
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** By the API server's clock, unix milliseconds, of which it tells whole seconds. NaN: it does not say. */
  readonly madeMs: number;
  /** Empty: not scheduled yet. */
  readonly nodeName: string;
  /** The kubelet itself wrote it for a pod from its manifests folder: the specification is the node's word. */
  readonly mirror: boolean;
  /** undefined: made by nothing that keeps revisions. */
  readonly origin: PodOrigin | undefined;
  /** undefined: made by nothing whose templates stay as they are. */
  readonly template: PodTemplateSource | undefined;
  readonly containers: readonly PodContainer[];
  /** None of a pod that is being deleted. */
  readonly running: readonly RunningContainer[];
  /** Ids of those that run on in a pod that is being deleted: for as long as it gives itself for its end. */
  readonly ending: readonly string[];
  /** Groups that every container of it gets: `supplementalGroups` and `fsGroup`. */
  readonly groups: readonly number[];
  /** `pid`, `net`, `ipc` where the node's is asked for. */
  readonly hostNamespaces: readonly string[];
  /** Lines of /etc/hosts: `NAME:ADDRESS`. */
  readonly hostAliases: readonly string[];
  /**
   * Fields that variables take their values from, as people write them (`metadata.labels['tier']`, `limits.cpu of web by 1m`) → every value that a container started by the kubelet
   * can have been given, none yet where empty. No entry: not all of them are known.
   */
  readonly fields: ReadonlyMap<string, readonly string[]>;
}

/** Names of the containers in the template that a pod was made of. `pending`: not read yet; undefined: it was made of none that can be read. */
export type PodTemplateNames = ReadonlySet<string> | "pending" | undefined;

/** ConfigMap → key → value: only those of which it is known that a container of the pod can have been given no other. */
export type PodConfigMaps = ReadonlyMap<string, ReadonlyMap<string, string>>;

export interface PodView {
  /** @param uid as the kubelet labels containers with it @returns undefined: there is none as of {@link PodView.heardMs} */
  get(uid: string): PodRecord | undefined;
  all(): Iterable<PodRecord>;
  templateOf(pod: PodRecord): PodTemplateNames;
  /** @param containerId of one that runs, as its node calls it @returns empty: nothing is known yet, or nothing is to be read */
  configMapsOf(pod: PodRecord, container: PodContainer, containerId: string): PodConfigMaps;
  /** When the API server was last heard, on a view that was complete then; unix milliseconds. undefined: there was never a complete view. */
  readonly heardMs: number | undefined;
  /** Since when it is followed without a break; unix milliseconds. undefined: it is not just now, and what was made meanwhile is not in it. */
  readonly followedMs: number | undefined;
  /** @param changed is told the uids of pods that came, changed or went */
  onChange(changed: (uids: ReadonlySet<string>) => void): void;
}
