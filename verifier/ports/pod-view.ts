/** The API server's pods as far as appraisal needs them: whoever may write pods wrote this, never the node that runs them. */

/** How a container stands in its pod's specification. */
export type ContainerRole = "container" | "init" | "ephemeral";

export interface PodContainer {
  readonly name: string;
  readonly role: ContainerRole;
}

/** What is kept of one pod: bounded by the API server's own limit of an object, and far smaller. */
export interface PodRecord {
  /** As the kubelet knows it: of a static pod its own, not its mirror's. */
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** Empty: not scheduled yet. */
  readonly nodeName: string;
  /** The kubelet itself wrote it for a pod from its manifests folder: the specification is the node's word. */
  readonly mirror: boolean;
  readonly containers: readonly PodContainer[];
}

export interface PodView {
  /** @param uid as the kubelet labels containers with it @returns undefined: there is none as of {@link PodView.heardMs} */
  get(uid: string): PodRecord | undefined;
  /** When the API server was last heard, on a view that was complete then; unix milliseconds. undefined: there was never a complete view. */
  readonly heardMs: number | undefined;
  /** @param changed is told the uids of pods that came, changed or went */
  onChange(changed: (uids: ReadonlySet<string>) => void): void;
}
