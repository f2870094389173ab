/** A release of the chart at work on a real cluster, as tests of parts of it have it at hand. */
import type { Kubernetes } from "../../../deploy/testbed/index.ts";

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ReleaseBed {
  readonly cluster: Kubernetes;
  /** Of the release `hullmark`. */
  readonly namespace: string;
  /** For files; removed with what is in it. */
  readonly home: string;
  helm(...args: readonly string[]): Promise<string>;
  /** Applies the release with these values besides those that every test here has, and waits until it is ready. */
  upgrade(...values: readonly string[]): Promise<unknown>;
  apply(...objects: readonly object[]): Promise<unknown>;
  /** `kubectl hullmark …` by this kubeconfig, to its end. */
  plugin(kubeconfig: string, ...args: string[]): Promise<Ran>;
  eventually<T>(look: () => Promise<T>, done: (seen: T) => boolean, withinMs?: number): Promise<T>;
}

export interface ReleasePod {
  readonly metadata: { readonly name: string; readonly uid: string; readonly deletionTimestamp?: string };
  readonly status: {
    readonly containerStatuses?: readonly { readonly name: string; readonly containerID?: string; readonly restartCount: number }[];
  };
}

/** Those that are not on their way out. @param component of the release; any where none is named */
export async function podsOf({ cluster, namespace }: Pick<ReleaseBed, "cluster" | "namespace">, component?: string): Promise<readonly ReleasePod[]> {
  const selector = component === undefined ? [] : [`--selector=app.kubernetes.io/component=${component}`];
  const { items } = JSON.parse(await cluster.kubectl(["--namespace", namespace, "get", "pods", ...selector, "--output=json"])) as { items: ReleasePod[] };
  return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
}

/** @throws Error unless there is exactly one */
export async function onlyPod(bed: Pick<ReleaseBed, "cluster" | "namespace">, component: string): Promise<ReleasePod> {
  const [pod, ...more] = await podsOf(bed, component);
  if (!pod || more.length > 0) throw new Error(`${pod ? more.length + 1 : 0} pods of the ${component}`);
  return pod;
}

export const idOf = ({ status }: ReleasePod): string => status.containerStatuses?.[0]?.containerID?.replace("containerd://", "") ?? "";
